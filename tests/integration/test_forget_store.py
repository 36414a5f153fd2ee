"""The store without what was forgotten: its pages, its records, and what retention and verify make of them."""

import errno
import os
from collections.abc import Collection
from pathlib import Path
from random import Random

import lmdb
import pytest

from server.intake.forgetting import without_items
from storage import sync
from storage.check.verify import verify
from storage.errors import StoreError
from storage.forget.find import events_of_id
from storage.forget.overwrite import clear_holes, flush_pages, may_overwrite
from storage.forget.pages import PageFile, runs
from storage.forget.plan import ForgetPlan
from storage.forget.statuses import discarded
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from storage.retain.planner import Planner
from storage.retain.policy import Retention
from storage.rewrite import Erasure
from storage.statuses import EventStatus
from storage.write.writer import Writer
from tests.support.readers import other_readers
from tests.support.store import AT_MS, STORE_MS, delivery, opened, outcome

SIZES = (50, 700, 1500, 2500, 4000, 9000, 30_000)
"""Of values: beside others in a page, in one of their own, in many."""


def put_and_delete(path: Path, rng: Random, marker: bytes) -> None:
    """An environment in which many values with a marker were put and changed, and then deleted or put without it."""
    with lmdb.open(os.fsencode(path), map_size=1 << 28, max_dbs=2) as env:
        databases = [env.open_db(name) for name in (b"one", b"two")]
        for _ in range(400):
            with env.begin(write=True) as txn:
                for database in databases:
                    key = rng.randrange(200).to_bytes(8, "big")
                    txn.put(key, marker + rng.randbytes(rng.choice(SIZES)), db=database)
        with env.begin(write=True) as txn:
            for database in databases:
                for key in [bytes(each) for each in txn.cursor(db=database).iternext(values=False)]:
                    if rng.random() < 0.5:
                        txn.delete(key, db=database)
                    else:
                        txn.put(key, rng.randbytes(rng.choice(SIZES)), db=database)


def content(env: lmdb.Environment) -> list[tuple[bytes, bytes]]:
    with env.begin() as txn:
        names = [b"one", b"two"]
        return [each for name in names for each in txn.cursor(db=env.open_db(name, txn=txn, create=False))]


@pytest.mark.parametrize("seed", range(4))
def test_holes_and_free_pages_hold_what_is_gone(tmp_path: Path, seed: int) -> None:
    """A deleted text is in parts of pages in use, and in free pages, and nowhere else; overwriting those changes
    nothing of what is there."""
    marker = b"a text that was deleted"
    put_and_delete(tmp_path, Random(seed), marker)
    data = tmp_path / "data.mdb"
    assert data.read_bytes().count(marker) > 100
    with lmdb.open(os.fsencode(tmp_path), max_dbs=2) as env:
        before = content(env)
        file = os.open(data, os.O_RDWR)
        pages = PageFile(file, env.stat()["psize"])
        meta = pages.newest()
        holes = list(pages.holes(meta))
        assert holes
        for offset, size in holes:
            os.pwrite(file, bytes(size), offset)
        assert marker in data.read_bytes()
        for first, count in runs(pages.free_pages(meta, meta.txnid + 1)):
            os.pwrite(file, bytes(count * pages.page_bytes), first * pages.page_bytes)
        assert list(pages.holes(meta)) == []
        assert content(env) == before
        os.close(file)
    assert marker not in data.read_bytes()
    with lmdb.open(os.fsencode(tmp_path), max_dbs=2) as env, env.begin(write=True) as txn:
        for number in range(500):  # on the pages that were overwritten
            txn.put(number.to_bytes(8, "big"), bytes(5000), db=env.open_db(b"two", txn=txn))


def forget(store: Store, writer: Writer, numbers: Collection[int]) -> None:
    for step in ForgetPlan(Snapshots(store), numbers, cut=without_items, now_ms=AT_MS).steps():
        writer.write(Group(erasure=Erasure(step)))


def overwrite(store: Store, writer: Writer) -> None:
    store.renew()
    free = clear_holes(store)
    writer.write(Group())
    assert may_overwrite(store, free)
    for stretch in free.stretches():
        writer.write(Group(erasure=Erasure(overwrite=stretch)))
    flush_pages(store)
    writer.write(Group(erasure=Erasure(erased=True)))


def test_pages_that_a_reader_sees_are_left_alone(tmp_path: Path) -> None:
    """While another process has a transaction of before nothing is overwritten that it may read, and that is known."""
    with opened(tmp_path) as (store, writer):
        writer.write(Group([Append(delivery(1, ["a"], body=b'{"a":1}'), 1, EventStatus.DEFERRED)]))
        with other_readers(tmp_path, 1):
            writer.write(Group(changes=[outcome(EventStatus.PROCESSED, [1])]))
            free = clear_holes(store)
            writer.write(Group())
            assert not may_overwrite(store, free)
        writer.write(Group())
        assert may_overwrite(store, free)


def test_a_note_says_what_is_owed(tmp_path: Path) -> None:
    """From the first rewriting on until all is overwritten, over a restart too."""

    def since(store: Store) -> int:
        with Snapshots(store).take() as snapshot:
            return snapshot.erasure_since_ms()

    with opened(tmp_path) as (store, writer):
        writer.write(Group([Append(delivery(1, ["a", "b"], body=b'[{"a":1},{"b":2}]'), 2, EventStatus.DEFERRED)]))
        writer.write(Group(changes=[outcome(EventStatus.PROCESSED, [1, 2])]))
        assert since(store) == 0
        forget(store, writer, [1])
        assert since(store) == AT_MS
    report = verify(tmp_path)
    assert (report.ok, report.erasure_since_ms) == (True, AT_MS)
    with opened(tmp_path) as (store, writer):
        assert since(store) == AT_MS
        overwrite(store, writer)
        assert since(store) == 0
    report = verify(tmp_path)
    assert (report.ok, report.erasure_since_ms) == (True, 0)


def test_what_is_around_the_forgotten_stays(tmp_path: Path) -> None:
    """Of a record of many deliveries, small and large: each other event has its body, and verify finds nothing."""
    rng = Random(7)
    bodies = [b'[{"n":"%b"},{"n":"%b"}]' % (rng.randbytes(size // 4).hex().encode(), b"x") for size in SIZES]
    with opened(tmp_path) as (store, writer):
        appends, first = [], 1
        for body in bodies:
            appends.append(Append(delivery(first, [f"{first}-a", f"{first}-b"], body=body), 2, EventStatus.DEFERRED))
            first += 2
        writer.write(Group(appends))
        numbers = list(range(1, first))
        writer.write(Group(changes=[outcome(EventStatus.PROCESSED, numbers)]))
        forget(store, writer, [*numbers[::3], numbers[4]])
        overwrite(store, writer)
        for number in numbers:
            record = Reader(store).find("demo", f"{(number - 1) // 2 * 2 + 1}-{'ab'[(number - 1) % 2]}", bodies=True)[0]
            is_gone = number in numbers[::3] or number == numbers[4]
            assert record.number == number
            assert bool(record.forgotten_at_ms) == is_gone
            assert record.has_body != is_gone
    assert verify(tmp_path).ok


RETENTION = Retention(archive_ms=1)
FAR_MS = STORE_MS + (1 << 40)
"""When nothing is young."""


def retain(store: Store, writer: Writer) -> None:
    """Let all bodies leave that may."""
    planner, more, new_pass = Planner(store), True, True
    while more:
        removal = planner.plan(RETENTION, FAR_MS, new_pass=new_pass)
        writer.write(Group(removal=removal))
        more, new_pass = removal.more, False


def discard(writer: Writer, store: Store, number: int) -> None:
    found = events_of_id(Snapshots(store), "demo", "dead", ["demo"])
    change = discarded(Snapshots(store), "demo", found, AT_MS, STORE_MS)
    assert change is not None
    assert list(change.numbers) == [number]
    writer.write(Group(changes=[change]))


@pytest.mark.parametrize("order", ["forget first", "retention first", "retention last too"])
def test_bodies_of_the_forgotten_are_counted_once(tmp_path: Path, order: str) -> None:
    """Whether retention comes before or after, of a delivery that is forgotten in part or as a whole, and of a dead
    event that it kept: what has left is counted, and verify adds up at each step."""
    body = b'[{"a":1},{"b":2}]'
    with opened(tmp_path) as (store, writer):
        appends = [Append(delivery(1, ["a", "b"], body=body), 2, EventStatus.DEFERRED)]
        appends += [Append(delivery(3, ["dead"], body=b'{"c":1}'), 1, EventStatus.DEFERRED)]
        appends += [Append(delivery(4, ["e", "f"], body=body), 2, EventStatus.DEFERRED)]
        dead = outcome(EventStatus.DEAD, [3], details={3: b'{"error":"a text"}'})
        writer.write(Group(appends))
        writer.write(Group(changes=[outcome(EventStatus.PROCESSED, [1, 2, 4, 5]), dead]))
        steps = [
            lambda: retain(store, writer),
            lambda: discard(writer, store, 3),
            lambda: forget(store, writer, [1, 3, 4, 5]),
        ]
        turned = {"forget first": [1, 2, 0], "retention first": [0, 1, 2], "retention last too": [0, 1, 2, 0]}
        for step in turned[order]:
            steps[step]()
            assert verify(tmp_path).problems == []
        assert writer.totals["demo"].expired == 5
        assert (writer.totals["demo"].dead_now, writer.totals["demo"].discarded) == (0, 1)


def test_a_disk_that_refuses_ends_no_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be overwritten is an error of the store as any other: nothing else is lost, and it is still owed."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "no")

    with opened(tmp_path) as (store, writer):
        writer.write(Group([Append(delivery(1, ["a"], body=b'{"a":1}'), 1, EventStatus.DEFERRED)]))
        writer.write(Group(changes=[outcome(EventStatus.PROCESSED, [1])]))
        forget(store, writer, [1])
        free = clear_holes(store)
        writer.write(Group())
        monkeypatch.setattr(sync, "write_at", refuse)
        with pytest.raises(StoreError, match="cannot be overwritten"):
            writer.write(Group(erasure=Erasure(overwrite=free.pages.tolist())))
        monkeypatch.undo()
        overwrite(store, writer)
    assert verify(tmp_path).ok


def test_results_of_the_forgotten_may_leave(tmp_path: Path) -> None:
    """By retention, once their record has no body left: verify misses nothing then."""
    with opened(tmp_path) as (store, writer):
        for number in (1, 2):
            body = b'{"n":%d}' % number
            writer.write(Group([Append(delivery(number, [f"id-{number}"], body=body), 1, EventStatus.DEFERRED)]))
            done = outcome(EventStatus.PROCESSED, [number], details={number: b'{"result":{"a":1}}'})
            writer.write(Group(changes=[done]))
        forget(store, writer, [1])
        retain(store, writer)
        assert verify(tmp_path).problems == []
