"""Retention against a dict of events: whatever leaves and stays, what may not leave is there, and the counts add up."""

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.check.audit import Audit
from storage.lmdb_store.environment import Store
from storage.model import Append, EventRecord, Group, StatusChange
from storage.read.reader import Reader
from storage.retain.planner import Planner
from storage.retain.policy import ON_ITS_WAY_MS, Retention
from storage.statuses import PENDING_STATUSES, EventStatus, Totals
from storage.store_time import HostTime
from storage.write import transaction
from storage.write.writer import Writer
from tests.support.store import MAP_SIZE_BYTES, delivery

HOUR_MS = 3_600_000
START_MS = 1_600_000_000_000
SOURCES = ("demo", "other")
POLICIES = {
    "by age": Retention(archive_ms=10 * HOUR_MS, receipt_ms=30 * HOUR_MS, window_ms=20 * HOUR_MS),
    "the dead too": Retention(10 * HOUR_MS, 0, 30 * HOUR_MS, dead_ms=15 * HOUR_MS, window_ms=5 * HOUR_MS),
    "receipts at once": Retention(10 * HOUR_MS, 0, HOUR_MS, dead_ms=HOUR_MS, window_ms=HOUR_MS),
}
PRESSED = Retention(archive_ms=10 * HOUR_MS, archive_bytes_max=1, receipt_ms=30 * HOUR_MS, window_ms=20 * HOUR_MS)


@dataclass
class Event:
    """What the model knows of one event."""

    source_id: str
    status: EventStatus
    delivery: int
    """The number of its delivery's first event."""
    group: int
    """The number of its group's first event."""
    store_ms: int

    @property
    def waits(self) -> bool:
        return self.status in PENDING_STATUSES


class StoreUnderRetention(RuleBasedStateMachine):
    """Blocks are small, so that much leaves with few events."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.now_ms = START_MS
        self.events: dict[int, Event] = {}
        self.bodies: dict[int, bytes] = {}
        self.identities: dict[int, str] = {}
        self.deaths: dict[str, int] = dict.fromkeys(SOURCES, 0)
        self.requeues: dict[str, int] = dict.fromkeys(SOURCES, 0)
        self.small_blocks = mock.patch.object(transaction, "BLOCK_EVENTS_MIN", 4)
        self.small_blocks.start()

    @initialize()
    def open(self) -> None:
        self.store = Store.open(self.path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
        self.writer = Writer(self.store, lambda: HostTime(self.now_ms, self.now_ms, b"b" * 16))
        self.reader = Reader(self.store)
        self.planner = Planner(self.store, calls_max=4)

    def teardown(self) -> None:
        self.small_blocks.stop()
        self.store.close()
        shutil.rmtree(self.path)

    # What is done to both.

    @rule(
        shapes=st.lists(
            st.tuples(st.sampled_from(SOURCES), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3000)),
            min_size=1,
            max_size=5,
        )
    )
    def append(self, shapes: list[tuple[str, int, int, int]]) -> None:
        """Deliveries of which some events are dropped, and without a body all of them."""
        appends, group = [], self.writer.next_number
        first = group
        for source_id, count, admitted, size in shapes:
            body = (b"%d" % first * size)[:size] if admitted else b""
            ids, known_by = [f"id-{first + at}" for at in range(count)], f"{size:032x}" * (size % 2)
            stored = delivery(first, ids, source_id=source_id, body=body, body_hash=known_by)
            appends.append(Append(stored, min(count, admitted), EventStatus.DROPPED, self.now_ms))
            self.bodies[first], self.identities[first] = body, stored.delivery_ids()[0]
            for at in range(count):
                status = EventStatus.PENDING if at < admitted else EventStatus.DROPPED
                self.events[first + at] = Event(source_id, status, first, group, self.now_ms)
            first = stored.end
        self.writer.write(Group(appends))

    @rule(data=st.data(), source_id=st.sampled_from(SOURCES))
    def finish(self, data: st.DataObject, source_id: str) -> None:
        """Some pending events end; now and then the oldest, now and then all."""
        status = data.draw(st.sampled_from([EventStatus.PROCESSED, EventStatus.PROCESSED, EventStatus.DEAD]))
        self.writer.write(Group(changes=[self._ended(source_id, status, self._some(data, source_id))]))

    def _some(self, data: st.DataObject, source_id: str) -> list[int]:
        numbers = [n for n, event in self.events.items() if event.source_id == source_id and event.waits]
        if data.draw(st.booleans()):
            return numbers
        low = data.draw(st.integers(0, max(len(numbers) - 1, 0)))
        return numbers[low : low + data.draw(st.integers(1, 10)) : data.draw(st.integers(1, 3))]

    def _ended(self, source_id: str, status: EventStatus, numbers: list[int]) -> StatusChange:
        for number in numbers:
            self.events[number].status, self.events[number].store_ms = status, self.now_ms
        dead = status is EventStatus.DEAD
        self.deaths[source_id] += len(numbers) * dead
        text = b'{"error":"boom %d"}' if dead else b'{"result":%d}'
        details = {number: text % number for number in numbers}
        return StatusChange(source_id, status, numbers, [1] * len(numbers), 1, self.now_ms, details=details)

    @rule(source_id=st.sampled_from(SOURCES), limit=st.integers(1, 5), hurried=st.booleans())
    def requeue(self, source_id: str, limit: int, hurried: bool) -> None:
        """Dead events wait again, though a step of retention was planned before, which is done between."""
        self.now_ms += 11 * HOUR_MS * hurried
        step = self.planner.plan(POLICIES["receipts at once"], self.now_ms)
        numbers = self.reader.dead_numbers(source_id, 0, limit)[:limit]
        change = StatusChange(source_id, EventStatus.PENDING, numbers, [0] * len(numbers), 1, 0)
        if hurried:
            self.writer.write(Group(changes=[change], removal=step))
        else:
            self.writer.write(Group(removal=replace(step, dead_may_leave=False)))
            self.writer.write(Group(changes=[change]))
        self.requeues[source_id] += len(numbers)
        for number in numbers:
            assert self.events[number].status is EventStatus.DEAD
            self.events[number].status, self.events[number].store_ms = EventStatus.PENDING, 0

    @rule(hours=st.sampled_from([0.5, 1, 4, 11, 35]))
    def time_passes(self, hours: float) -> None:
        self.now_ms += int(hours * HOUR_MS)

    @rule()
    def reopen(self) -> None:
        """Numbers go on after a restart, however much has left."""
        before = self.writer.totals, self.writer.next_number
        self.store.close()
        self.open()
        assert (self.writer.totals, self.writer.next_number) == before

    # What leaves.

    @precondition(lambda self: self.events)
    @rule(name=st.sampled_from(sorted(POLICIES)))
    def retain(self, name: str) -> None:
        """What is due leaves, and nothing that is not."""
        policy = POLICIES[name]
        there = self._there()
        self._retain(policy)
        after = self._there()
        held = {n for n in self.events if self._holds(n, policy) or self._is_young(n, policy.archive_ms)}
        kept = {self.events[n].delivery for n in held if self.events[n].delivery in there[1]}
        assert kept <= after[1]
        needed = kept | self._needed(policy) & there[0]
        assert needed <= after[0]
        self._has_left(policy, after)

    @precondition(lambda self: self.events)
    @rule()
    def press(self) -> None:
        """Over the bound all bodies leave but those of pending and dead events."""
        held = {self.events[n].delivery for n in self.events if self._holds(n, PRESSED)}
        there = self._there()[1]
        self._retain(PRESSED)
        assert self._there()[1] == held & there
        assert all(self.events[n].delivery in there for n, event in self.events.items() if event.waits)

    def _retain(self, policy: Retention) -> None:
        """Three passes: what was kept for the sake of what has left now leaves with the next."""
        for _ in range(3):
            step = self.planner.plan(policy, self.now_ms)
            while step.more or not step.is_empty:
                self.writer.write(Group(removal=step))
                step = self.planner.plan(policy, self.now_ms, new_pass=False)

    def _holds(self, number: int, policy: Retention) -> bool:
        event = self.events[number]
        dead = event.status is EventStatus.DEAD
        return event.waits or (dead and not (policy.dead_ms and self._is_over(number, policy.dead_ms)))

    def _is_over(self, number: int, stay_ms: int) -> bool:
        return self.events[number].store_ms + stay_ms <= self.now_ms

    def _is_young(self, number: int, stay_ms: int) -> bool:
        return not self._is_over(number, stay_ms)

    def _needed(self, policy: Retention) -> set[int]:
        """The deliveries whose receipts may not leave."""
        stay_ms = max(policy.receipt_ms, policy.window_ms + ON_ITS_WAY_MS)
        found = set()
        for number, event in self.events.items():
            waits_since = min(
                (e.store_ms for e in self.events.values() if e.source_id == event.source_id and e.waits and e.store_ms),
                default=self.now_ms,
            )
            wanted = event.status is EventStatus.PROCESSED and event.store_ms + policy.window_ms > waits_since
            if self._holds(number, policy) or self._is_young(number, stay_ms) or wanted:
                found.add(event.delivery)
        return found

    def _has_left(self, policy: Retention, after: tuple[set[int], set[int]]) -> None:
        """Everything has left that comes before the first group with anything young in it, but what is held."""
        young = {e.group for n, e in self.events.items() if self._is_young(n, policy.archive_ms)}
        until = min(young, default=self.writer.next_number)
        held = {e.delivery for n, e in self.events.items() if self._holds(n, policy)}
        assert {first for first in after[1] if first < until} <= held
        stay_ms = max(policy.receipt_ms, policy.window_ms + ON_ITS_WAY_MS)
        until = min([until, *(e.group for n, e in self.events.items() if self._is_young(n, stay_ms))])
        groups = {self.events[first].group for first in self._needed(policy) | after[1]}
        gone = {e.delivery for e in self.events.values() if e.group not in groups and e.delivery < until}
        assert {first for first in after[0] & gone if first < self._last_block} == set()

    @property
    def _last_block(self) -> int:
        last = self.writer._state.last
        return last.first if last else 0

    def _there(self) -> tuple[set[int], set[int]]:
        """The deliveries whose receipts are there, and those whose bodies are."""
        found = {first: self.reader.delivery(identity) for first, identity in self.identities.items()}
        receipts = {first for first, records in found.items() if records}
        return receipts, {first for first in receipts if self.bodies[first] and not _left(found[first] or [])}

    # What must be the same.

    @invariant()
    def verify_finds_nothing(self) -> None:
        problems: list[str] = []
        Audit(self.store, problems.append, lambda _database, _number: None).run()
        assert problems == []

    @invariant()
    def pending_events_have_their_bodies(self) -> None:
        for source_id in SOURCES:
            page = self.reader.page(source_id, 0, self.writer.next_number, events_max=10**6, bytes_max=1 << 30)
            numbers = [number for span in page.spans for number in span.numbers]
            assert numbers == [n for n, e in self.events.items() if e.source_id == source_id and e.waits]
            for span in page.spans:
                assert span.numbered is not None
                firsts, bodies = span.numbered.firsts(), span.numbered.deliveries.bodies
                assert all(self.bodies[first] == body for first, body in zip(firsts, bodies, strict=True))

    @invariant()
    def totals_are_the_model_s(self) -> None:
        for source_id in SOURCES:
            found = self.writer.totals.get(source_id, Totals())
            statuses = [event.status for event in self.events.values() if event.source_id == source_id]
            assert found.balanced
            assert (found.received, found.requeued) == (len(statuses), self.requeues[source_id])
            assert (found.dead, found.pending) == (self.deaths[source_id], sum(s in PENDING_STATUSES for s in statuses))
            assert found.processed == statuses.count(EventStatus.PROCESSED)

    @invariant()
    def what_is_there_says_what_it_is(self) -> None:
        for identity in self.identities.values():
            for record in self.reader.delivery(identity) or ():
                event = self.events[record.number]
                assert record.status is event.status
                result = record.detail.get("result")
                if event.status is EventStatus.DEAD:
                    assert record.detail == {"error": f"boom {record.number}"}
                elif event.status is EventStatus.PROCESSED:
                    assert result in ({record.number, None} if record.left_at_ms else {record.number})

    @invariant()
    def what_has_left_is_known(self) -> None:
        for first, identity in self.identities.items():
            assert (self.reader.delivery(identity) is None) == bool(self.reader.left_at(identity)), first


def _left(records: Iterable[EventRecord]) -> bool:
    return any(record.left_at_ms for record in records)


TestStoreUnderRetention = StoreUnderRetention.TestCase
TestStoreUnderRetention.settings = settings(max_examples=10, stateful_step_count=25)
