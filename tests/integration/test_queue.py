"""The queue of a source: live, behind, and what must not be fed meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio
import trio.testing

from server.base.byte_budget import ByteBudget
from server.base.clock import Clock
from server.base.source import Source
from server.base.worker import Worker
from server.flow.queue import EVENT_BYTES, SPAN_BYTES, SourceQueue, part, weight
from server.flow.source_state import Committed, SourceState
from storage.deliveries import merged
from storage.model import Page, Span
from storage.statuses import Totals
from tests.support.store import delivery, singles
from tests.support.waiting import HANG_SECONDS


class Log:
    """A reader of a log in which events wait, one delivery each; remembers what it was asked for."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers
        self.asked: list[tuple[int, int]] = []
        self.sizes: list[int] = []

    def page(self, source_id: str, start: int, end: int, *, events_max: int, **_: Any) -> Page:
        self.asked.append((start, end))
        self.sizes.append(events_max)
        found = [number for number in self.numbers if start <= number < end]
        return Page(list(map(span, found[:events_max])), end if len(found) <= events_max else found[events_max])


class DeferredLog(Log):
    """The same with events that were deferred."""

    def page(self, source_id: str, start: int, end: int, **keys: Any) -> Page:
        page = super().page(source_id, start, end, **keys)
        return Page([replace(each, deferred=True) for each in page.spans], page.next)


def span(number: int) -> Span:
    return Span(None, "demo", [number], bytes(16), [0], False, 1000)


def committed(first: int, count: int = 1, *, admitted: int | None = None, store_ms: int = 0) -> Committed:
    stored = delivery(first, [f"id-{first + at}" for at in range(count)])
    return Committed(stored, count if admitted is None else admitted, count, bytes(16 * count), store_ms)


@asynccontextmanager
async def feeding(
    log: Log, *, start: int, end: int, events_max: int = 10
) -> AsyncIterator[tuple[SourceQueue, SourceState]]:
    state = SourceState("demo", Totals())
    queue = SourceQueue(
        state,
        events_max=events_max,
        budget=ByteBudget(10**6),
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
        queue.notify()
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
    """Nothing is skipped, and the room comes back with what is taken off."""
    log = Log([3, 4])
    async with feeding(log, start=1, end=1, events_max=2) as (queue, _):
        queue.offer([committed(1, 2)])
        queue.offer([committed(3), committed(4)])
        assert (queue.behind, queue.cursor, queue.oldest()) == (
            True,
            3,
            (1, committed(1).numbered.deliveries.received_at_ms[0]),
        )
        queue.taken_off(await queue.receive())
        assert [await taken(queue) for _ in range(2)] == [[3], [4]]


def test_a_part_of_a_span_has_its_deliveries() -> None:
    """And weighs as much as these: their whole bodies, since it keeps them alive."""
    bodies = [b"x" * size for size in (10, 200, 3000)]
    deliveries = merged(
        [
            delivery(1, ["a", "b"], body=bodies[0]),
            delivery(3, ["c"], body=bodies[1]),
            delivery(4, ["d"], body=bodies[2]),
        ]
    )
    whole = Span(deliveries, "demo", range(1, 5), bytes(range(64)), [0, 1, 2, 3], False, 1000)
    assert part(whole, 0, 4) is whole
    assert weight(whole) == 3210 + 3 * SPAN_BYTES + 4 * EVENT_BYTES
    middle = part(whole, 1, 3)
    assert (list(middle.numbers), middle.attempts, middle.digests) == ([2, 3], [1, 2], bytes(range(16, 48)))
    assert middle.numbered is not None
    assert (middle.numbered.first, middle.numbered.deliveries.bodies) == (1, bodies[:2])
    assert weight(middle) == 210 + 2 * SPAN_BYTES + 2 * EVENT_BYTES
    without = replace(whole, numbered=None)
    assert weight(part(without, 0, 1)) == SPAN_BYTES + EVENT_BYTES


async def test_deliveries_that_came_together_go_in_together() -> None:
    """With their bodies, where a processor wants these: one span, of which all is taken off again."""
    async with feeding(Log([]), start=1, end=1) as (queue, state):
        queue.keep_bodies = True
        together = singles(1, ["a", "b", "c"], bodies=[b"1", b"2", b"3"])
        queue.offer([Committed(together, 3, 3, bytes(48), store_ms=0)])
        span = await queue.receive()
        assert (list(span.numbers), span.numbered) == ([1, 2, 3], together)
        queue.taken_off(span)
        assert queue._budget.held_by(state.id) == 0


async def test_a_span_came_within_one_minute() -> None:
    """What one group brings is a span for each minute of receipt, however few events that are."""
    async with feeding(Log([]), start=1, end=1) as (queue, _):
        queue.offer([committed(1, store_ms=60_000), committed(2, store_ms=60_000)])
        queue.offer([committed(3, store_ms=60_000), committed(4, store_ms=120_000)])
        spans = [await queue.receive() for _ in range(3)]
        assert [(list(span.numbers), span.store_ms) for span in spans] == [
            ([1, 2], 60_000),
            ([3], 60_000),
            ([4], 120_000),
        ]


def test_a_consumer_that_stops_gives_no_bound() -> None:
    """Regression: outcomes on their way raised the oldest number past events that the consumer had let go of."""

    class Stopping:
        stopping = False
        room = 0

        def oldest(self) -> tuple[int, int]:
            return (9, 1000)

        def requeued(self, numbers: object) -> None:
            raise AssertionError

    class Live:
        behind = False
        cursor = 0

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
    log = DeferredLog([1, 2])
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


async def test_no_more_is_read_than_tokens_release() -> None:
    """Regression: each tenth of a second a page of thousands was read for the one event that had a token."""
    log = DeferredLog(list(range(1, 101)))
    async with feeding(log, start=1, end=101) as (queue, state):
        state.configure(Source("demo", "webhook", (), rate_limit_events_per_second=50, rate_limit_burst_events=5))
        queue.reconsider()
        for number in range(1, 31):
            assert await taken(queue) == [number]
            queue.taken_off(span(number))
        assert len(log.sizes) > 3
        assert max(log.sizes[1:]) <= 10
