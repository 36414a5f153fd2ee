"""The look-up index in the store: whatever is built, merged, given up, dropped or harmed, nothing is missed unseen."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from storage.check.audit import Audit
from storage.codec import index_rows
from storage.codec.index_rows import GRANULE, entries_key, span, times_key
from storage.errors import StoreDamaged
from storage.index.planner import IndexPlanner
from storage.index_step import IndexStep
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from storage.retain.planner import Planner
from storage.retain.policy import Retention
from storage.statuses import EventStatus
from storage.write.writer import Writer
from tests.support.store import AT_MS, STORE_MS, changed, opened, outcome, singles

FAR_MS = STORE_MS + (1 << 40)
"""When nothing is young."""


def fill(writer: Writer, events: int, *, dead: int = 0) -> None:
    """Add events with ids and other provider ids that follow from their numbers; every so many is dead."""
    while writer.next_number <= events:
        first = writer.next_number
        count = min(2000, events + 1 - first)
        numbers = range(first, first + count)
        numbered = singles(first, [f"id-{number}" for number in numbers])
        numbered = changed(
            numbered,
            provider_ids=[f"p-{number}" for number in numbers],
            received_at_ms=[AT_MS + number for number in numbers],
        )
        died = [number for number in numbers if dead and number % dead == 0]
        rest = [number for number in numbers if number not in set(died)]
        writer.write(Group([Append(numbered, count, EventStatus.DROPPED)]))
        changes = [outcome(EventStatus.PROCESSED, rest)]
        if died:
            details = dict.fromkeys(died, b'{"error":"x"}')
            changes.append(outcome(EventStatus.DEAD, died, details=details))
        writer.write(Group([], changes))


def steps(store: Store) -> Iterator[IndexStep]:
    planner = IndexPlanner(store)
    return (step for step in iter(planner.plan, None) if not step.is_empty)


def do_all(store: Store, writer: Writer) -> int:
    """Do all steps that are due; how many there were."""
    count = 0
    for step in steps(store):
        writer.write(Group(index=step))
        count += 1
    return count


def problems_of(store: Store) -> list[str]:
    problems: list[str] = []
    Audit(store, problems.append, lambda _database, _number: None).run()
    return problems


def rows_in(store: Store) -> int:
    with store.read_transaction() as txn:
        return int(txn.stat(store.index)["entries"])


def reach(store: Store) -> int:
    with Snapshots(store).take() as snapshot:
        return snapshot.index.end


def found(reader: Reader, number: int) -> list[list[int]]:
    """The numbers found for the ids, and for the time, of the event with this number."""
    queries = (
        EventQuery("demo", event_id=f"id-{number}"),
        EventQuery(provider_id=f"p-{number}"),
        EventQuery(since_ms=AT_MS + number, until_ms=AT_MS + number + 1),
    )
    ids = [[record.number for record in reader.select(query).records] for query in queries]
    return [*ids, [record.number for record in reader.find("demo", f"id-{number}")]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are built of no more than one granule, so that all longer ones are merged."""
    monkeypatch.setattr("storage.index.planner.BUILT_LEVEL_MAX", 0)


@pytest.mark.usefixtures("small")
def test_merged_segments_leave_nothing_out(tmp_path: Path) -> None:
    """What was merged level by level is found as before, and nothing is left of what it was merged from."""
    with opened(tmp_path / "store") as (store, writer):
        fill(writer, span(2) + span(1) + GRANULE + 3)
        do_all(store, writer)
        reader = Reader(store)
        for number in (1, GRANULE - 1, GRANULE, span(1), span(2) - 1, span(2), writer.next_number - 1):
            assert found(reader, number) == [[number]] * 4
        assert problems_of(store) == []
        entries = 16 + 1 + 1  # 16 parts of one segment, and two of one part each
        times = 1 + 16 + 1 + 1  # of the longest, of those in it, of the one beside them, of a granule
        assert rows_in(store) == entries + times


@pytest.mark.usefixtures("small")
def test_a_merge_that_is_cut_off_begins_anew(tmp_path: Path) -> None:
    """Steps that were not written are planned again, by the same planner and by that of another start."""
    random = Random(3)
    with opened(tmp_path / "store") as (store, writer):
        fill(writer, span(2) + 5)
        planner = IndexPlanner(store)
        while (step := planner.plan()) is not None:
            fate = random.random()
            if fate < 0.2:
                planner.give_up()
            elif not step.is_empty:
                writer.write(Group(index=step))
            if fate > 0.9:
                planner = IndexPlanner(store)
        assert problems_of(store) == []
        assert reach(store) == span(2)


def test_an_older_store_gets_an_index(tmp_path: Path) -> None:
    """A store from before there was an index is read as it is, and gets one when it is opened to be written to."""
    path = tmp_path / "store"
    with opened(path) as (store, writer):
        fill(writer, 2 * span(1))
        with store.env.begin(write=True) as txn:
            txn.drop(store.index)
    reading = Store.open(path, mode="read")
    try:
        assert found(Reader(reading), 77) == [[77]] * 4
        assert problems_of(reading) == []
        assert reading.index is None
    finally:
        reading.close()
    with opened(path) as (store, writer):
        assert do_all(store, writer) > 0
        assert reach(store) == 2 * span(1)
        assert found(Reader(store), 77) == [[77]] * 4
        assert problems_of(store) == []


def test_what_left_leaves_the_index_too(tmp_path: Path) -> None:
    """Of a segment that retention has passed, the rows of what is left stay, and no others."""
    with opened(tmp_path / "store") as (store, writer):
        fill(writer, span(1) + 2 * span(1), dead=2 * span(1) - 100)
        do_all(store, writer)
        before = rows_in(store)
        retention = Planner(store)
        while not (step := retention.plan(Retention(archive_ms=1, receipt_ms=1), FAR_MS)).is_empty:
            writer.write(Group(removal=step))
        do_all(store, writer)
        assert rows_in(store) < before
        kept = 2 * span(1) - 100
        assert found(Reader(store), kept) == [[kept]] * 4
        assert found(Reader(store), kept + 1)[0] == []
        with Snapshots(store).take() as snapshot:
            sizes = [len(value) for key, value in snapshot.index.rows(b"") if key.startswith(b"f")]
        one_granule = 2 * 4 * GRANULE + 4
        assert (len(sizes), sizes[0]) == (2, one_granule)  # the last one is not passed yet
        assert problems_of(store) == []


def test_a_segment_that_has_left_is_indexed(tmp_path: Path) -> None:
    """What left before it was indexed has no rows but those of times; what comes behind it is found."""
    with opened(tmp_path / "store") as (store, writer):
        fill(writer, 3 * span(1))
        retention = Planner(store)
        while not (step := retention.plan(Retention(archive_ms=1, receipt_ms=1), FAR_MS)).is_empty:
            writer.write(Group(removal=step))
        assert do_all(store, writer) > 0
        assert found(Reader(store), 5)[0] == []
        fill(writer, 4 * span(1))
        do_all(store, writer)
        assert found(Reader(store), 4 * span(1)) == [[4 * span(1)]] * 4
        assert problems_of(store) == []


def test_an_index_begins_where_the_store_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first events have left before there was an index, it passes over them in one step."""
    monkeypatch.setattr("storage.index.planner.LEVELS", 2)
    with opened(tmp_path / "store") as (store, writer):
        fill(writer, 3 * span(1))
        retention = Planner(store)
        while not (step := retention.plan(Retention(archive_ms=1, receipt_ms=1), FAR_MS)).is_empty:
            writer.write(Group(removal=step))
        first = next(steps(store))
        assert (first.puts, first.covered and first.covered[0]) == ((), 2 * span(1))


@pytest.mark.parametrize("harm", ["gone", "changed", "another key", "late times", "no times"])
def test_verify_sees_a_wrong_index(tmp_path: Path, harm: str) -> None:
    """A row that is missing, damaged or says too little is a problem that names what it is of."""
    with opened(tmp_path / "store") as (store, writer):
        fill(writer, span(1) + GRANULE + 1)
        do_all(store, writer)
        entries, times = entries_key(1, 0, 0), times_key(1, 0)
        with store.env.begin(write=True) as txn:
            if harm == "gone":
                txn.delete(entries, db=store.index)
            elif harm == "changed":
                txn.put(entries, txn.get(entries, db=store.index)[:-1] + b"\0", db=store.index)
            elif harm == "another key":
                txn.put(b"x", b"y", db=store.index)
            elif harm == "late times":
                late = index_rows.decode_times(times, txn.get(times, db=store.index)) + 1
                txn.put(times, index_rows.encode_times(times, late), db=store.index)
            else:
                txn.delete(times, db=store.index)
        problems = problems_of(store)
        assert problems
        assert all(each.startswith("index") for each in problems)
        if harm == "changed":
            with pytest.raises(StoreDamaged, match="index"):
                found(Reader(store), 1)


def test_a_long_segment_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment is built in as many snapshots as may be."""
    monkeypatch.setattr("storage.read.snapshot.SNAPSHOT_RECORDS_MAX", 2)
    with opened(tmp_path / "store") as (store, writer):
        fill(writer, span(1) + 10)
        do_all(store, writer)
        assert found(Reader(store), 3000) == [[3000]] * 4
        assert problems_of(store) == []
