"""The making of a store: a power cut may leave any part of it, and the next start makes the store anew."""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lmdb
import pytest

from storage import sync
from storage.errors import StoreDamaged, StoreMissing
from storage.journal.journal import Journal
from storage.journal.records import JOURNAL_BYTES
from storage.lmdb_store import disk
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.read.reader import Reader
from storage.statuses import EventStatus
from tests.support.store import MAP_SIZE_BYTES, delivery, filled, numbered, opened

PAGE = os.sysconf("SC_PAGE_SIZE")


def resized(name: str, size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path / name, size)


def zeros(name: str, first: int, end: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[:first] + bytes(min(end, len(content)) - first) + content[end:])

    return write


def without(*names: str) -> Callable[[Path], None]:
    def remove(path: Path) -> None:
        for name in names:
            (path / name).unlink()

    return remove


def no_transaction(path: Path, blank: int | None = None) -> None:
    (path / "data.mdb").unlink()
    lmdb.open(str(path), lib_version=0).close()
    if blank is not None:
        zeros("data.mdb", blank * PAGE, (blank + 1) * PAGE)(path)


def check_it_is_made(path: Path) -> None:
    """A start makes the store, what is written is read, and the next start finds it."""
    with opened(path) as (store, writer):
        assert store.is_new
        Journal(store).close()
        writer.write(Group([numbered(1, 3)]))
    store = Store.open(path, mode="read")
    assert Reader(store).totals()["demo"].received == 3
    store.close()


UNFINISHED: dict[str, Callable[[Path], None]] = {
    "empty": resized("data.mdb", 0),
    "one page": resized("data.mdb", PAGE),
    "part of a page": resized("data.mdb", 512),
    "two pages of a first transaction": resized("data.mdb", 2 * PAGE),
    "all zeros": zeros("data.mdb", 0, 100 * PAGE),
    "no transaction": no_transaction,
    "the first meta page is zeros": partial(no_transaction, blank=0),
    "the second meta page is zeros": partial(no_transaction, blank=1),
    "no data file": without("data.mdb"),
    "no lock file": without("data.mdb", "lock.mdb"),
}


@pytest.mark.parametrize("state", UNFINISHED)
def test_an_interrupted_making_begins_anew(tmp_path: Path, state: str) -> None:
    """Whatever a power cut leaves of data.mdb before the line in writer.lock: no store to read, and made by a start."""
    path = tmp_path / "store"
    Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write").close()
    os.truncate(path / "writer.lock", 0)
    UNFINISHED[state](path)
    with pytest.raises(StoreMissing):
        Store.open(path, mode="read")
    check_it_is_made(path)


@pytest.mark.parametrize(
    "change",
    [
        resized("lock.mdb", 0),
        resized("lock.mdb", 100),
        zeros("lock.mdb", 0, disk.LOCK_FILE_BYTES),
        without("lock.mdb"),
        without("writer.lock"),
        resized("writer.lock", 0),
        resized("journal", 0),
        resized("journal", PAGE),
        zeros("journal", 0, JOURNAL_BYTES),
        without("journal"),
    ],
)
def test_files_beside_may_be_lost(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """A store whose names or blocks beside data.mdb a power cut took is opened, and holds what it held."""
    path = tmp_path / "store"
    with opened(path) as (store, writer):
        writer.write(Group([numbered(1, 3)]))
        Journal(store).close()
    change(path)
    with opened(path) as (store, writer):
        assert (store.is_new, writer.totals["demo"].received) == (False, 3)
        assert Journal(store).error is None


@pytest.mark.parametrize(
    "change", [zeros("data.mdb", 0, 2 * PAGE), zeros("data.mdb", PAGE, 2 * PAGE), resized("data.mdb", PAGE)]
)
def test_a_lost_store_is_not_made_anew(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Where a line says that a store was made, no damage is taken for an interrupted making."""
    path = tmp_path / "store"
    filled(path, [Group([numbered(1, 3)])])
    change(path)
    found = (path / "data.mdb").read_bytes()
    with pytest.raises(StoreDamaged):
        Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
    assert (path / "data.mdb").read_bytes() == found


def test_a_copy_with_events_is_not_made_anew(tmp_path: Path) -> None:
    """Without that line too, a file that holds an event, and a file of something else, are left as they are."""
    path = tmp_path / "store"
    filled(path, [Group([numbered(1, 1)])])
    metas = (path / "data.mdb").read_bytes()[: 2 * PAGE]
    for content in (metas, metas[:PAGE] + bytes(PAGE), b"hello", b"hello" * PAGE):
        shutil.rmtree(path)
        path.mkdir()
        (path / "data.mdb").write_bytes(content)
        with pytest.raises(StoreDamaged):
            Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
        assert (path / "data.mdb").read_bytes() == content


def test_names_are_flushed_before_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line in writer.lock follows the flush of the store's directory and of all above it that it may have made."""
    flushed: list[tuple[Path, bool]] = []
    flush = sync.flush_directory

    def recorded(path: Path) -> None:
        flush(path)
        flushed.append((path, (store / "writer.lock").stat().st_size > 0))

    monkeypatch.setattr(sync, "flush_directory", recorded)
    store = tmp_path / "several" / "new" / "store"
    Store.open(store, map_size_bytes=MAP_SIZE_BYTES, mode="write").close()
    for directory in (store, *store.parents[:3]):
        assert (directory.resolve(), False) in flushed
    flushed.clear()
    Store.open(store, map_size_bytes=MAP_SIZE_BYTES, mode="write").close()
    assert flushed == []


def test_a_store_gets_the_databases_that_came_later(tmp_path: Path) -> None:
    """One of this format that was made before there were digests of bodies goes on, with what it holds."""
    with opened(tmp_path) as (store, writer):
        writer.write(Group([numbered(1, 3)]))
        with store.env.begin(write=True) as txn:
            txn.drop(store.body_digests, delete=True)
    with opened(tmp_path) as (store, writer):
        writer.write(Group([Append(delivery(4, ["a"], body_hash="5" * 32), 1, EventStatus.DEFERRED)]))
        spans = Reader(store).spans(range(1, 5))
        assert [(list(span.numbers), len(span.body_digests)) for span in spans] == [([1, 2, 3], 0), ([4], 16)]
