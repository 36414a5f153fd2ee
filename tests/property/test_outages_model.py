"""What outages do to events, against the rule in docs/internals/flow.md: whatever fails, in any order, on a clock that
jumps; the store, the threads and the processor are replaced by what answers at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from server.base.byte_budget import ByteBudget
from server.base.clock import Clock
from server.base.source import Source
from server.base.wakeup import Wakeup
from server.flow.attempts import WAIT_SECONDS, Waits
from server.flow.consumer import Consumer
from server.flow.processor import BatchFailed, Failed, Succeeded
from server.flow.queue import SourceQueue
from server.flow.source_state import Committed, SourceState
from storage.codec.records import digest
from storage.dedup.index import DedupIndex
from storage.model import Page, Span, StatusChange
from storage.statuses import EventStatus, Totals
from tests.support.store import delivery

DOWN_CALLS_MAX = 12

OUTAGE_SECONDS = 400 * DOWN_CALLS_MAX
"""Longer than the waits after so many failures."""

TURN_SECONDS = 400
"""Longer than one wait."""

ATTEMPTS_MAX = 3


@dataclass
class Row:
    """One event in the store."""

    number: int
    kind: str
    status: EventStatus = EventStatus.PENDING
    attempts: int = 0

    @property
    def pending(self) -> bool:
        return self.status is EventStatus.PENDING


class Disk:
    """The store, its committer, its reader and the thread of that: a change is on disk a moment later."""

    lost = False

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.changes: list[tuple[StatusChange, Callable[[], None]]] = []
        self.work = Wakeup()
        self.store_clock = Clock()

    def add(self, kind: str) -> Row:
        row = Row(len(self.rows) + 1, kind)
        self.rows[row.number] = row
        return row

    def span(self, number: int) -> Span:
        numbered = delivery(number, [f"id-{number}"])
        return Span(
            numbered, "demo", [number], digest("demo", f"id-{number}"), [self.rows[number].attempts], False, number, 1
        )

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    def spans(self, numbers: Sequence[int], **_: Any) -> list[Span]:
        return [self.span(number) for number in numbers if self.rows[number].pending]

    def page(self, source_id: str, start: int, end: int, **_: Any) -> Page:
        return Page([self.span(number) for number in range(start, end) if self.rows[number].pending], end)

    def change_status(self, state: SourceState, change: StatusChange, on_disk: Callable[[], None]) -> None:
        self.changes.append((change, on_disk))
        self.work.notify()

    def flush(self) -> None:
        pass

    async def write(self) -> None:
        """Put on disk what was handed over, for ever."""
        while True:
            changes, self.changes = self.changes, []
            for change, on_disk in changes:
                for number, attempts in zip(change.numbers, change.attempts, strict=True):
                    assert self.rows[number].pending, "a second outcome"
                    self.rows[number].status, self.rows[number].attempts = change.status, attempts
                on_disk()
            await self.work.wait()


@dataclass
class World:
    """The processor, and what is away: the world during the calls in `down`; for a poisonous event always.

    `expected` follows the rule: what each event failed by itself, and what it met alone before another succeeded.
    """

    disk: Disk
    down: frozenset[int]
    by_entry: bool
    roomy: bool
    """All events find room in the channel."""
    ready = True
    calls: int = 0
    expected: dict[int, int] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    aside: list[int] = field(default_factory=list)
    failures: int = 0
    not_before: float = 0
    first_aside_at: float | None = None
    """When an event was set aside while no other was: another is tried at once, itself only after the wait."""

    async def __call__(self, events: Sequence[dict[str, Any]], *_: object) -> list[Succeeded | Failed]:
        await trio.lowlevel.checkpoint()
        numbers = [int(event["inbound_event_id"].removeprefix("id-")) for event in events]
        if self.first_aside_at is not None and numbers == self.aside:
            self._wait(self.first_aside_at)
        self.first_aside_at = None
        assert trio.current_time() >= self.not_before, "called before the wait was over"
        self._check_turn(numbers)
        self.touched.update(numbers)
        is_down = self.calls in self.down
        self.calls += 1
        entries = [self._entry(self.disk.rows[number], is_down) for number in numbers]
        if not self.by_entry or len(numbers) == 1:
            failed = [entry for entry in entries if isinstance(entry, Failed)]
            if failed:
                self._note_failed_call(numbers, outage=failed[0].outage)
                raise BatchFailed(failed[0].error, outage=failed[0].outage)
        self._note_entries(numbers, entries)
        return entries

    def _entry(self, row: Row, is_down: bool) -> Succeeded | Failed:
        if is_down or row.kind == "poison":
            return Failed("ConnectionError: away", outage=True)
        return Failed("ValueError: bad") if row.kind == "bad" else Succeeded()

    def _check_turn(self, numbers: list[int]) -> None:
        """What met an outage alone is tried again only if there is no event that was not tried yet."""
        if self.aside:
            assert len(numbers) == 1, "a batch in an outage that an event met alone"
            untouched = self.roomy and set(self.disk.rows) - self.touched
            assert numbers[0] not in self.aside or not untouched, "an untried event was passed over"

    def _note_failed_call(self, numbers: list[int], *, outage: bool) -> None:
        if len(numbers) == 1 and not outage:
            self._note_failed(numbers[0])
            return
        if len(numbers) == 1:
            others = [each for each in self.aside if each != numbers[0]]
            self.aside = others + numbers
            if not others:
                self.first_aside_at = trio.current_time()
                return
        self._wait(trio.current_time())

    def _note_entries(self, numbers: list[int], entries: list[Succeeded | Failed]) -> None:
        for number, entry in zip(numbers, entries, strict=True):
            if isinstance(entry, Failed) and not entry.outage:
                self._note_failed(number)
        if any(isinstance(entry, Succeeded) for entry in entries):
            self.failures, self.not_before = 0, 0
            others = [each for each in self.aside if each not in numbers]
            if others:
                self._note_failed(others[-1])
            self.aside = []
        if any(isinstance(entry, Failed) and entry.outage for entry in entries):
            self._wait(trio.current_time())

    def _note_failed(self, number: int) -> None:
        self.expected[number] = self.expected.get(number, 0) + 1
        self.aside = [each for each in self.aside if each != number]

    def _wait(self, since: float) -> None:
        self.not_before = since + WAIT_SECONDS[min(self.failures, len(WAIT_SECONDS) - 1)]
        self.failures += 1


class NoSuspects:
    """Nobody was in hand when a process died."""

    def of(self, number: int) -> None:
        return None

    def clear(self, numbers: Sequence[int]) -> None:
        pass


@dataclass
class Flow:
    """A consumer with its queue at work on such a disk, for such a world."""

    disk: Disk
    world: World
    events_max: int
    batch_max: int

    async def __aenter__(self) -> "Flow":
        state = SourceState("demo", Totals())
        source = Source(
            "demo", "webhook", (), processor_batch_events_max=self.batch_max, processor_attempts_max=ATTEMPTS_MAX
        )
        parts: dict[str, Any] = {"clock": Clock(), "events_max": self.events_max, "reader": self.disk}
        world: Any = self.world
        disk: Any = self.disk
        self.queue = SourceQueue(state, budget=ByteBudget(10**6), worker=disk, start=1, end=1, **parts)
        self.queue.keep_bodies = True
        index = DedupIndex(10**9, 10**6, Path())
        parts |= {"suspects": NoSuspects(), "reading": disk, "waits": Waits()}
        self.consumer = Consumer(state, self.queue, world, source, committer=disk, index=index, **parts)
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self.disk.write)
        self._nursery.start_soon(self.queue.feed)
        self._nursery.start_soon(self.consumer.run)
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(*error)

    def send(self, *kinds: str) -> None:
        for kind in kinds:
            row = self.disk.add(kind)
            event_id = f"id-{row.number}"
            self.queue.offer([Committed(delivery(row.number, [event_id]), 1, 1, digest("demo", event_id), store_ms=1)])

    async def pending_after(self, seconds: float) -> list[Row]:
        """Of a clock that jumps: nothing is waited for."""
        await trio.sleep(seconds)
        return [row for row in self.disk.rows.values() if row.pending]


def run(scenario: Callable[..., Any], *arguments: Any) -> None:
    trio.run(scenario, *arguments, clock=trio.testing.MockClock(autojump_threshold=0))


KINDS = st.lists(st.sampled_from(["good", "good", "bad", "poison"]), min_size=1, max_size=12)

DOWN = st.frozensets(st.integers(0, 30), max_size=DOWN_CALLS_MAX)


@settings(max_examples=100)
@given(KINDS, DOWN, st.booleans(), st.sampled_from([1, 3, 50]), st.integers(1, 5))
def test_every_event_reaches_its_own_outcome(
    kinds: list[str], down: frozenset[int], by_entry: bool, events_max: int, batch_max: int
) -> None:
    """None is lost; attempts are what the rule counts, nothing while nothing succeeds; good ones make the rest end."""

    async def scenario() -> None:
        disk = Disk()
        world = World(disk, down, by_entry, roomy=events_max > len(kinds))
        async with Flow(disk, world, events_max, batch_max) as flow:
            flow.send(*kinds)
            left = await flow.pending_after(OUTAGE_SECONDS)
            rounds = ATTEMPTS_MAX * len(kinds) + len(down)
            while left and rounds:
                flow.send("good")
                left, rounds = await flow.pending_after(TURN_SECONDS), rounds - 1
            assert not left
        for row in disk.rows.values():
            assert row.attempts == world.expected.get(row.number, 0)
            assert (row.status is EventStatus.DEAD) == (row.attempts == ATTEMPTS_MAX)
            assert row.kind == "good" or row.status is EventStatus.DEAD

    run(scenario)
