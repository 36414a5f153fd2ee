"""Every storage call fails once, and nothing changes: the group is not there, the store is usable, verify is clean."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import lmdb
import pytest

from storage.check.verify import verify
from storage.errors import StoreError, StoreFailed, StoreFull
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.read.reader import Reader
from storage.retain.planner import Planner
from storage.retain.policy import Retention
from storage.statuses import EventStatus
from storage.write.writer import Writer
from tests.support.store import MAP_SIZE_BYTES, Faults, delivery, numbered, opened, outcome, singles

ERRORS = [
    (lmdb.Error("mdb_put: Operation failed"), StoreError),
    (lmdb.MapFullError("mdb_put: MDB_MAP_FULL"), StoreFull),
    (lmdb.Error("mdb_txn_commit: No space left on device"), StoreFull),
    (lmdb.Error("mdb_txn_commit: Input/output error"), StoreFailed),
]


KEEPS_THE_DEAD = Retention(archive_ms=1, receipt_ms=1)
KEEPS_NOTHING = Retention(archive_ms=1, receipt_ms=1, dead_ms=1)
FAR_MS = 1 << 50
"""A store's time after which nothing is young."""


@contextmanager
def prepared(path: Path, faults: Faults) -> Iterator[tuple[Store, Writer]]:
    """A store of two blocks, with pending, processed and dead events, and no fault yet."""
    with opened(path, open_environment=faults.open) as (store, writer):
        twins = delivery(1, ["id-1", "twin", "twin", *(f"id-{number}" for number in range(4, 301))])
        writer.write(Group([Append(twins, 300, EventStatus.DEFERRED), numbered(301, 20, source_id="other")]))
        writer.write(Group([numbered(321, 5)], [outcome(EventStatus.DEAD, [7], details={7: b'{"error":"x"}'})]))
        yield store, writer


def everything(first: int) -> Group:
    """A group that touches every database, both blocks and both sources."""
    deferred: Append = replace(numbered(first, 4), admitted=2, rest=EventStatus.DEFERRED)
    return Group(
        [deferred, numbered(first + 4, 1, source_id="other")],
        [
            outcome(EventStatus.PROCESSED, [1, 2, 321], details={2: b'{"result":2}'}),
            outcome(EventStatus.DUPLICATE, [3], originals=[2]),
            outcome(EventStatus.PENDING, [7]),
            outcome(EventStatus.DEAD, [301], source_id="other", details={301: b'{"error":"y"}'}),
        ],
        {"demo": 4},
    )


def seen(store: Store) -> tuple[object, ...]:
    """All that a reader can see."""
    reader = Reader(store)
    totals = reader.totals()
    spans = [
        reader.page(source_id, 0, 1000, events_max=1000, bytes_max=1 << 30, bodies=False).spans for source_id in totals
    ]
    return totals, spans, reader.dead(None), [chunk.numbers.tolist() for chunk in reader.processed_since(0)]


def calls_of_a_group(path: Path) -> int:
    faults = Faults()
    with prepared(path, faults) as (_, writer):
        faults.calls = 0
        writer.write(everything(writer.next_number))
        return faults.calls


@pytest.mark.parametrize(("error", "expected"), ERRORS)
def test_every_call_of_a_write_may_fail(tmp_path: Path, error: Exception, expected: type[StoreError]) -> None:
    """Whichever call of a group fails, nothing of the group is there, and the same group can be written afterwards."""
    calls = calls_of_a_group(tmp_path / "counted")
    assert calls >= 15
    faults = Faults()
    faults.error = error
    path = tmp_path / "store"
    with prepared(path, faults) as (store, writer):
        before, totals, number = seen(store), writer.totals, writer.next_number
        for n in range(1, calls + 1):
            faults.calls, faults.fail_at = 0, n
            with pytest.raises(expected) as caught:
                writer.write(everything(number))
            faults.fail_at = None
            assert type(caught.value) is expected
            assert seen(store) == before
            assert (writer.totals, writer.next_number) == (totals, number)
        written = writer.write(everything(number))
        assert written.totals["demo"].balanced
        assert seen(store) != before
        after = seen(store)
    assert verify(path).problems == []
    with opened(path) as (store, writer):
        assert seen(store) == after
        assert writer.next_number == number + 5


def test_a_write_that_is_interrupted_succeeds(tmp_path: Path) -> None:
    """A signal may interrupt a flush on some file systems: whichever call it is, the group is written all the same."""
    calls = calls_of_a_group(tmp_path / "counted")
    for n in range(1, calls + 1):
        faults = Faults()
        faults.error = lmdb.Error("mdb_txn_commit: Interrupted system call")
        path = tmp_path / str(n)
        with prepared(path, faults) as (_, writer):
            faults.calls, faults.fail_at = 0, n
            assert writer.write(everything(writer.next_number)).totals["demo"].balanced
            assert faults.calls > n
    assert verify(path).problems == []


def test_the_write_after_a_failure_is_right(tmp_path: Path) -> None:
    """After a failure at each call another, smaller group is written, and the store is right after all of them."""
    calls = calls_of_a_group(tmp_path / "counted")
    faults = Faults()
    path = tmp_path / "store"
    with prepared(path, faults) as (_, writer):
        for n in range(1, calls + 1):
            faults.calls, faults.fail_at = 0, n
            with pytest.raises(StoreError):
                writer.write(everything(writer.next_number))
            faults.fail_at = None
            writer.write(Group([numbered(writer.next_number, 20)], [outcome(EventStatus.PROCESSED, [100 + n])]))
    assert verify(path).problems == []


def test_outcomes_alone_may_fail(tmp_path: Path) -> None:
    """A group of outcomes for the last block, which is held in memory, can be written after it failed at any call."""
    faults = Faults()
    path = tmp_path / "store"
    group = Group([], [outcome(EventStatus.PROCESSED, [322, 323]), outcome(EventStatus.DEAD, [324])])
    with prepared(path, faults) as (store, writer):
        assert fail_every_call(faults, store, partial(writer.write, group)) > 8
        assert writer.totals["demo"].processed == 2
    assert verify(path).problems == []


def test_every_call_of_retention_may_fail(tmp_path: Path) -> None:
    """Whichever call of a step of retention fails, nothing has left, and the same step can be done afterwards: bodies
    of a part of a record, then those of all of it, then the receipts of a block."""
    faults = Faults()
    path = tmp_path / "store"
    with opened(path, open_environment=faults.open) as (store, writer):
        writer.write(Group([Append(singles(1, [f"id-{at}" for at in range(300)]), 300, EventStatus.DROPPED)]))
        writer.write(Group([numbered(301, 20, source_id="other")]))
        died = outcome(EventStatus.DEAD, [7], details={7: b'{"error":"x"}'})
        ended = [number for number in range(1, 301) if number != 7]
        done = outcome(EventStatus.PROCESSED, ended, details=dict.fromkeys(ended, b'{"result":1}'))
        writer.write(Group([], [died, done]))
        planner = Planner(store)
        for policy in (KEEPS_THE_DEAD, KEEPS_NOTHING, KEEPS_NOTHING):
            group = Group(removal=planner.plan(policy, FAR_MS))
            assert fail_every_call(faults, store, partial(writer.write, group)) > 8
        assert (writer.totals["demo"].expired_processed, writer.totals["demo"].expired_dead) == (299, 1)
    assert verify(path).problems == []


def fail_every_call(faults: Faults, store: Store, write: Callable[[], object]) -> int:
    """How many tries it took, of which each failed at a later call, and left everything as it was."""
    before, tries = seen(store), 0
    while True:
        tries += 1
        faults.calls, faults.fail_at = 0, tries
        try:
            write()
            return tries
        except StoreError:
            faults.fail_at = None
            assert seen(store) == before
        finally:
            faults.fail_at = None


def test_every_call_of_a_read_may_fail(tmp_path: Path) -> None:
    """Whichever call of a read fails, it raises a StoreError, and the next read is right."""
    faults = Faults()
    with prepared(tmp_path / "store", faults) as (store, _):
        faults.calls = 0
        before = seen(store)
        for n in range(1, faults.calls + 1):
            faults.calls, faults.fail_at = 0, n
            with pytest.raises(StoreError):
                seen(store)
            faults.fail_at = None
        assert seen(store) == before


def test_every_call_of_opening_may_fail(tmp_path: Path) -> None:
    """Whichever call of opening and loading fails, it raises a StoreError, and the store opens the next time."""
    path = tmp_path / "store"
    for turn in range(2):  # once where the store is made, once where it is there
        n = 0
        while True:
            n += 1
            faults = Faults()
            faults.fail_at = n
            try:
                store = Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write", open_environment=faults.open)
            except StoreError:
                continue
            try:
                Writer(store)
                break
            except StoreError:
                continue
            finally:
                store.close()
        assert n > 10
        with opened(path) as (_, writer):
            assert writer.next_number == 1 + turn
            writer.write(Group([numbered(writer.next_number, 1)]))
    assert verify(path).problems == []
