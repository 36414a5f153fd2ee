"""The store against a dict of events: whatever is written, refused, failed and reopened, both say the same."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from storage.check.audit import Audit
from storage.codec.records import body_digests_of, digest, split_digests
from storage.errors import IllegalStatusChange, StoreError
from storage.history import DISCARDED, REQUEUED, TURNS_MAX
from storage.lmdb_store.environment import Store
from storage.model import Append, Group, StatusChange
from storage.read.reader import Reader
from storage.statuses import PENDING_STATUSES, EventStatus, Totals
from storage.write.writer import Writer
from tests.support.store import AT_MS, MAP_SIZE_BYTES, STORE_MS, Faults, delivery, outcome

SOURCES = ("demo", "other", "third")
IDS = st.sampled_from(["a", "b", "c", None])


@dataclass
class Event:
    """What the model knows of one event."""

    source_id: str
    id: str
    status: EventStatus
    attempts: int = 0
    error: str = ""
    original: int = 0
    body: tuple[str, int] | None = None
    """The hash of its body and its place in it, if equal ones are duplicates."""
    history: tuple[str, ...] = ()

    @property
    def waits(self) -> bool:
        return self.status in PENDING_STATUSES


class StoreAndModel(RuleBasedStateMachine):
    """Every rule does the same to both."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.events: dict[int, Event] = {}
        self.by_body: dict[int, bytes] = {}
        """The digests of the bodies of those events that are known by them."""
        self.deaths: dict[str, int] = dict.fromkeys(SOURCES, 0)
        self.requeues: dict[str, int] = dict.fromkeys(SOURCES, 0)
        self.deferred: dict[str, int] = dict.fromkeys(SOURCES, 0)
        self.faults = Faults()

    @initialize()
    def open(self) -> None:
        self.store = Store.open(
            self.path, map_size_bytes=MAP_SIZE_BYTES, mode="write", open_environment=self.faults.open
        )
        self.writer = Writer(self.store)
        self.reader = Reader(self.store)

    def teardown(self) -> None:
        problems: list[str] = []
        Audit(self.store, problems.append, lambda _database, _number: None).run()
        self.store.close()
        shutil.rmtree(self.path)
        assert problems == []

    # What is done to both.

    @rule(
        shapes=st.lists(
            st.tuples(
                st.sampled_from(SOURCES),
                st.lists(IDS, min_size=1, max_size=6),
                st.integers(0, 6),
                st.sampled_from([EventStatus.DEFERRED, EventStatus.DROPPED]),
                st.sampled_from(["", "", "x", "y"]),
            ),
            min_size=1,
            max_size=5,
        ),
        many=st.sampled_from([1, 1, 1, 60]),
    )
    def append(self, shapes: list[tuple[str, list[str | None], int, EventStatus, str]], many: int) -> None:
        """A group of deliveries; now and then large enough for a block of its own."""
        appends = []
        first = self.writer.next_number
        for source_id, ids, admitted, rest, body_hash in shapes:
            repeated = [found and f"{found}{turn or ''}" for turn in range(many) for found in ids]
            stored = delivery(first, repeated, source_id=source_id, body_hash=body_hash)
            appends.append(Append(stored, min(admitted, stored.count), rest))
            first += stored.count
        written = self.writer.write(Group(appends))
        for append, digests in zip(appends, written.digests, strict=True):
            self._appended(append, digests)
        assert list(written.body_digests) == [body_digests_of(append.numbered) for append in appends]
        for append in appends:
            packed = split_digests(body_digests_of(append.numbered))
            self.by_body |= dict(zip(range(append.numbered.first, append.numbered.end), packed, strict=False))

    def _appended(self, append: Append, digests: bytes) -> None:
        stored = append.numbered
        source_id = stored.source_id
        for position in range(stored.count):
            status = EventStatus.PENDING if position < append.admitted else append.rest
            event = Event(source_id, stored.event_id(position), status)
            event.body = next(((each, position) for each in stored.deliveries.body_hashes), None)
            self.events[stored.first + position] = event
            self.deferred[source_id] += status == EventStatus.DEFERRED
            assert digests[16 * position : 16 * position + 16] == digest(source_id, event.id)

    def _chosen(self, data: st.DataObject, source_id: str, *statuses: EventStatus) -> list[int]:
        """Some events of a source that have one of these statuses, in order."""
        numbers = [n for n, event in self.events.items() if event.source_id == source_id and event.status in statuses]
        low = data.draw(st.integers(0, max(len(numbers) - 1, 0)))
        step = data.draw(st.integers(1, 3))
        return numbers[low : low + data.draw(st.integers(1, 40)) : step]

    @rule(data=st.data(), source_id=st.sampled_from(SOURCES))
    def finish(self, data: st.DataObject, source_id: str) -> None:
        """Changes of every kind in one group, with a better bound for the oldest pending number."""
        numbers = self._chosen(data, source_id, EventStatus.PENDING, EventStatus.DEFERRED)
        status = data.draw(
            st.sampled_from([EventStatus.PROCESSED, EventStatus.DEAD, EventStatus.DUPLICATE, EventStatus.PENDING])
        )
        group = Group([], [self._outcomes(source_id, status, numbers)])
        left = [n for n, event in self.events.items() if event.waits and event.source_id == source_id]
        self.writer.write(replace(group, oldest={source_id: left[0]}) if left else group)

    def _outcomes(self, source_id: str, status: EventStatus, numbers: list[int]) -> StatusChange:
        if status == EventStatus.DUPLICATE:
            pairs = [(number, self._processed_twin(number)) for number in numbers]
            numbers = [number for number, twin in pairs if twin]
            originals = [twin for _, twin in pairs if twin]
        else:
            originals = []
        for number in numbers:
            event = self.events[number]
            event.status, event.attempts = status, 3
            event.error = f"boom {number}" if status == EventStatus.DEAD else ""
        for number, original in zip(numbers, originals, strict=False):
            self.events[number].original = original
        details = {number: b'{"error":"boom %d"}' % number for number in numbers} if status == EventStatus.DEAD else {}
        self.deaths[source_id] += len(details)
        return outcome(status, numbers, source_id=source_id, attempts=3, originals=originals, details=details)

    def _processed_twin(self, number: int) -> int:
        wanted = self.events[number]
        for other, event in self.events.items():
            is_alike = event.id == wanted.id or (event.body and event.body == wanted.body)
            if is_alike and (event.source_id, event.status) == (wanted.source_id, EventStatus.PROCESSED):
                return other
        return 0

    @rule(data=st.data(), source_id=st.sampled_from(SOURCES))
    def requeue(self, data: st.DataObject, source_id: str) -> None:
        """Dead events wait again, without attempts and without their error."""
        numbers = self._chosen(data, source_id, EventStatus.DEAD)
        histories = self._histories(numbers, REQUEUED)
        again = outcome(EventStatus.PENDING, numbers, source_id=source_id, histories=histories)
        self.writer.write(Group([], [again]))
        self.requeues[source_id] += len(numbers)
        for number in numbers:
            event = self.events[number]
            event.status, event.attempts, event.error = EventStatus.PENDING, 0, ""

    @rule(data=st.data(), source_id=st.sampled_from(SOURCES))
    def discard(self, data: st.DataObject, source_id: str) -> None:
        """Dead events keep what they died of, and when."""
        numbers = self._chosen(data, source_id, EventStatus.DEAD)
        unwanted = outcome(
            EventStatus.DISCARDED, numbers, source_id=source_id, histories=self._histories(numbers, DISCARDED)
        )
        self.writer.write(Group([], [unwanted]))
        for number in numbers:
            self.events[number].status = EventStatus.DISCARDED

    def _histories(self, numbers: list[int], change: str) -> dict[int, bytes]:
        found = self.reader.dead_events(numbers)
        assert [each.number for each in found] == numbers
        for each in found:
            event = self.events[each.number]
            assert (each.error, each.attempts) == (event.error, event.attempts)
            event.history += (event.error, change)
        return {each.number: each.then(change, AT_MS) for each in found}

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def refuse(self, data: st.DataObject) -> None:
        """An outcome that cannot be, beside a delivery that could: neither is written."""
        finished = [n for n, event in self.events.items() if not event.waits]
        number = data.draw(st.sampled_from(finished)) if finished else self.writer.next_number + 5
        source_id = self.events[number].source_id if finished else "demo"
        more = Append(delivery(self.writer.next_number, ["a", "b"]), 2, EventStatus.DROPPED)
        with pytest.raises(IllegalStatusChange):
            self.writer.write(Group([more], [outcome(EventStatus.PROCESSED, [number], source_id=source_id)]))

    @rule(at=st.integers(1, 9), appends=st.booleans())
    def fail(self, at: int, appends: bool) -> None:
        """A call into LMDB fails: the group is not written."""
        waits = [n for n, event in self.events.items() if event.waits and event.source_id == "demo"][-5:]
        more = [Append(delivery(self.writer.next_number, ["a", "b"]), 1, EventStatus.DEFERRED)] if appends else []
        self.faults.calls, self.faults.fail_at = 0, at
        try:
            with pytest.raises(StoreError):
                self.writer.write(Group(more, [outcome(EventStatus.DEAD, waits, details=dict.fromkeys(waits, b"{}"))]))
        finally:
            self.faults.fail_at = None

    @rule()
    def reopen(self) -> None:
        """What was committed is there after a restart."""
        before = self.writer.totals, self.writer.next_number
        self.store.close()
        self.open()
        assert (self.writer.totals, self.writer.next_number) == before

    # What must be the same.

    @invariant()
    def totals_are_the_model_s(self) -> None:
        for source_id in SOURCES:
            found = self.writer.totals.get(source_id, Totals())
            assert found.balanced
            assert found == replace(self._counted(source_id), oldest=found.oldest)
            waits = [n for n, event in self.events.items() if event.source_id == source_id and event.waits]
            assert found.oldest <= min(waits, default=self.writer.next_number)
        assert self.reader.totals() == self.writer.totals

    def _counted(self, source_id: str) -> Totals:
        statuses = [event.status for event in self.events.values() if event.source_id == source_id]
        return Totals(
            received=len(statuses),
            requeued=self.requeues[source_id],
            deferred=self.deferred[source_id],
            processed=statuses.count(EventStatus.PROCESSED),
            duplicate=statuses.count(EventStatus.DUPLICATE),
            dropped=statuses.count(EventStatus.DROPPED),
            dead=self.deaths[source_id],
            pending=statuses.count(EventStatus.PENDING) + statuses.count(EventStatus.DEFERRED),
            deferred_now=statuses.count(EventStatus.DEFERRED),
            discarded=statuses.count(EventStatus.DISCARDED),
            dead_now=statuses.count(EventStatus.DEAD),
        )

    @rule(source_id=st.sampled_from(SOURCES), events_max=st.sampled_from([1, 5, 1000]), bodies=st.booleans())
    def feed(self, source_id: str, events_max: int, bodies: bool) -> None:
        """Feeding from the oldest on gives the pending events of the model."""
        end = self.writer.next_number
        start = min(self.writer.totals.get(source_id, Totals()).oldest, end)
        found: list[tuple[int, int, bool]] = []
        while start < end:
            page = self.reader.page(source_id, start, end, events_max=events_max, bytes_max=1 << 30, bodies=bodies)
            start = page.next
            for span in page.spans:
                found += [(n, tried, span.deferred) for n, tried in zip(span.numbers, span.attempts, strict=True)]
                known = split_digests(span.body_digests) or [b""] * len(span.numbers)
                assert known == [self.by_body.get(number, b"") for number in span.numbers]
        expected = [
            (n, event.attempts, event.status == EventStatus.DEFERRED)
            for n, event in self.events.items()
            if event.source_id == source_id and event.waits
        ]
        assert found == expected

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def look_up(self, data: st.DataObject) -> None:
        """Any event is found by its id and by its delivery, with its status, error and twin."""
        number = data.draw(st.sampled_from(sorted(self.events)))
        event = self.events[number]
        found = {record.number: record for record in self.reader.find_each(event.source_id, event.id)}
        twins = {n for n, e in self.events.items() if (e.source_id, e.id) == (event.source_id, event.id)}
        assert found.keys() == twins
        first = max(twins, key=lambda n: (self.events[n].status == EventStatus.PROCESSED, n))
        assert self.reader.find(event.source_id, event.id, 1) == [found[first]]
        record = found[number]
        assert (record.status, record.attempts) == (event.status, event.attempts)
        assert record.detail == ({"error": event.error} if event.error else {})
        assert tuple(turn.error or turn.change for turn in record.history) == event.history[-TURNS_MAX:]
        assert (record.at_ms == 0) == event.waits
        siblings = self.reader.delivery(record.numbered.delivery_ids()[0])
        assert siblings is not None
        assert siblings[record.position] == record
        if event.original:
            twins_id = self.events[event.original].id
            (twin,) = [r for r in self.reader.find_each(event.source_id, twins_id) if r.number == event.original]
            assert record.duplicate_of == twin.numbered.delivery_ids()[0]

    @rule(limit=st.integers(1, 5))
    def list_dead(self, limit: int) -> None:
        """The dead in pages are the model's."""
        numbers: list[int] = []
        while page := self.reader.dead(None, numbers[-1] if numbers else 0, limit):
            numbers += [record.number for record in page]
        assert numbers == [n for n, event in self.events.items() if event.status == EventStatus.DEAD]

    @rule()
    def index(self) -> None:
        """What the index would be built from is what was processed."""
        chunks = list(self.reader.processed_since(STORE_MS))
        numbers = [int(number) for chunk in chunks for number in chunk.numbers]
        found = list(zip(split_digests(b"".join(chunk.digests for chunk in chunks)), numbers, strict=True))
        done = {n: event for n, event in self.events.items() if event.status == EventStatus.PROCESSED}
        pairs = [(digest(event.source_id, event.id), n) for n, event in done.items()]
        pairs += [(self.by_body[n], n) for n in done if n in self.by_body]
        assert sorted(found) == sorted(pairs)
        assert self.reader.processed_at(pairs) == [STORE_MS + 1] * len(pairs)
        assert self.reader.processed_at([(bytes(16), n) for n in done]) == [None] * len(done)
        last = {each: max(n for known, n in pairs if known == each) for each, _ in pairs[-20:]}
        if last:
            seen, before = self.reader.processed(set(last))
            assert before is not None or {each: done[n].source_id for each, n in seen.items()} == {
                each: done[n].source_id for each, n in last.items()
            }
            assert set(seen.items()) <= set(pairs)


TestStoreAndModel = StoreAndModel.TestCase
TestStoreAndModel.settings = settings(max_examples=100, stateful_step_count=40)
