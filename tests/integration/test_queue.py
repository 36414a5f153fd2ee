"""The queue of a source: live, behind, and what must not be fed meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio
import trio.testing

from server.base.byte_budget import SharedBytes
from server.base.clock import Clock
from server.base.source import Source
from server.base.worker import Worker
from server.flow.queue import SourceQueue
from server.flow.source_state import Committed, SourceState
from storage.model import Page, Span, Totals
from tests.support.store import delivery
from tests.support.waiting import HANG_SECONDS


class Log:
    """A reader of a log in which events wait, one delivery each; remembers what it was asked for."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers
        self.asked: list[tuple[int, int]] = []

    def feed(self, source_id: str, start: int, end: int, **_: Any) -> Page:
        self.asked.append((start, end))
        spans = [span(number) for number in self.numbers if start <= number < end]
        return Page(spans, end)


def span(number: int) -> Span:
    return Span(None, "demo", [number], bytes(16), [0], False, 1000)


def committed(first: int, count: int = 1, *, admitted: int | None = None) -> Committed:
    stored = delivery(first, [f"id-{first + at}" for at in range(count)])
    return Committed(stored, count if admitted is None else admitted, count, bytes(16 * count))


@asynccontextmanager
async def feeding(
    log: Log, *, start: int, end: int, events_max: int = 10
) -> AsyncIterator[tuple[SourceQueue, SourceState]]:
    state = SourceState("demo", Totals())
    queue = SourceQueue(
        state,
        events_max=events_max,
        shared=SharedBytes(10**6),
        reader=log,  # type: ignore[arg-type]
        worker=Worker("test"),
        clock=Clock(),
        start=start,
        end=end,
    )
    state.queue = queue
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.feed)
        yield queue, state
        nursery.cancel_scope.cancel()


async def taken(queue: SourceQueue) -> list[int]:
    """The numbers of the next span."""
    with trio.fail_after(HANG_SECONDS):
        return list((await queue.receive()).numbers)


async def test_nothing_is_fed_while_requeued_events_return() -> None:
    """Regression: such an event was read from the log before it was settled, and entered a second time."""
    log = Log([5])
    async with feeding(log, start=1, end=1) as (queue, state):
        state.returning = 1
        queue.offer([committed(5, admitted=0)])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (queue.receive_nowait(), log.asked) == (None, [])
        state.returning = 0
        queue.poke()
        assert await taken(queue) == [5]


async def test_a_queue_behind_catches_up_in_order() -> None:
    """Events that came while it was behind wait on disk; the one after the last of them goes in at once."""
    log = Log([1, 2, 3])
    async with feeding(log, start=1, end=3) as (queue, _):
        queue.offer([committed(3)])
        assert [await taken(queue) for _ in range(3)] == [[1], [2], [3]]
        assert not queue.behind
        queue.offer([committed(4)])
        assert await taken(queue) == [4]


async def test_a_full_queue_falls_behind_without_gaps() -> None:
    """Nothing is passed over, and the room comes back with what is taken off."""
    log = Log([3, 4])
    async with feeding(log, start=1, end=1, events_max=2) as (queue, _):
        queue.offer([committed(1, 2)])
        queue.offer([committed(3), committed(4)])
        assert (queue.behind, queue.cursor, queue.oldest()) == (True, 3, (1, committed(1).stored.received_at_ms))
        queue.taken_off(await queue.receive())
        assert [await taken(queue) for _ in range(2)] == [[3], [4]]


def test_a_consumer_that_stops_gives_no_bound() -> None:
    """Regression: outcomes on their way raised the oldest number past events that the consumer had let go of."""

    class Stopping:
        stopping = False

        def oldest(self) -> tuple[int, int]:
            return (9, 1000)

    class Live:
        behind = False

        def offer(self, run: object) -> None:
            raise AssertionError

        def oldest(self) -> None:
            return None

    state = SourceState("demo", Totals())
    consumer = Stopping()
    state.queue, state.consumer = Live(), consumer
    assert state.oldest_bound() == 9
    consumer.stopping = True
    assert state.oldest_bound() is None
    assert state.oldest_pending() == (9, 1000)


async def test_a_wait_for_tokens_may_be_endless() -> None:
    """At a rate of 1e-300 the seconds until the next token were no float, and the queue ended the server."""

    class Deferred(Log):
        def feed(self, source_id: str, start: int, end: int, **keys: Any) -> Page:
            page = super().feed(source_id, start, end, **keys)
            return Page([replace(each, deferred=True) for each in page.spans], page.next)

    log = Deferred([1, 2])
    source = Source("demo", "webhook", (), rate_limit_events_per_second=1e-300)
    async with feeding(log, start=1, end=1) as (queue, state):
        state.configure(source)
        queue.offer([committed(1, 2, admitted=0)])
        assert await taken(queue) == [1]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert queue.receive_nowait() is None
        state.configure(replace(source, rate_limit_events_per_second=0))
        queue.reconsider()
        assert await taken(queue) == [2]
