"""A meta page that cannot be written: LMDB lets nothing begin any more, and the environment is opened anew."""

import errno
import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lmdb
import pytest

from storage import sync
from storage.errors import StoreError, StoreFailed, StoreFull
from storage.lmdb_store import transactions
from storage.lmdb_store.environment import Store
from storage.lmdb_store.transactions import PLACES_KEPT
from storage.model import Group
from storage.read.reader import Reader
from storage.write.writer import Writer
from tests.support.faults import Environment
from tests.support.store import MAP_SIZE_BYTES, numbered


class Failing:
    """Opens environments whose commits fail at the meta page while `faults` is there."""

    def __init__(self, directory: Path) -> None:
        self.faults = directory / "faults"
        self.opened: list[Environment] = []
        self.error: Exception | None = None

    def __call__(self, *args: Any, **options: Any) -> Environment:
        if self.error is not None:
            raise self.error
        self.opened.append(Environment(lmdb.open(*args, **options), self.faults))
        return self.opened[-1]


@pytest.fixture
def failing(tmp_path: Path) -> Failing:
    return Failing(tmp_path)


@pytest.fixture
def store(tmp_path: Path, failing: Failing) -> Any:
    """A store with one event whose next commits fail."""
    found = Store.open(tmp_path / "store", map_size_bytes=MAP_SIZE_BYTES, mode="write", open_environment=failing)
    Writer(found).write(Group([numbered(1, 1)]))
    failing.faults.write_text("meta page")
    yield found
    found.close()


def received(store: Store) -> int:
    return Reader(store).totals()["demo"].received


def test_a_failed_meta_page_is_a_full_disk(store: Store, failing: Failing) -> None:
    """A commit without room for its meta page is StoreFull, time and again; reading goes on, and so does writing once
    there is room."""
    writer = Writer(store)
    for _ in range(3):
        with pytest.raises(StoreFull):
            writer.write(Group([numbered(2, 1)]))
        assert received(store) == 1
    failing.faults.unlink()
    writer.write(Group([numbered(2, 1)]))
    assert received(store) == 2
    assert len(failing.opened) == 4
    with ExitStack() as together:
        for _ in range(PLACES_KEPT):
            together.enter_context(store.read_transaction())


def test_readers_of_before_may_end(store: Store, failing: Failing) -> None:
    """What reads while a commit fails reads on; only when all have ended is the environment opened anew."""
    found: list[int] = []
    other = threading.Thread(target=lambda: found.append(received(store)))
    with store.read_transaction() as txn:
        before = dict(txn.cursor(db=store.meta))
        with pytest.raises(StoreFull):
            Writer(store).write(Group([numbered(2, 1)]))
        other.start()
        assert {bytes(key): bytes(value) for key, value in txn.cursor(db=store.meta)} == {
            bytes(key): bytes(value) for key, value in before.items()
        }
        assert len(failing.opened) == 1
    other.join()
    assert (found, len(failing.opened)) == ([1], 2)


def test_a_transaction_that_never_ends_is_a_panic(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one does not end the environment cannot be opened anew, and the process has to end."""
    monkeypatch.setattr(transactions, "OPEN_SECONDS_MAX", 0)
    with store.read_transaction():
        with pytest.raises(StoreFull):
            Writer(store).write(Group([numbered(2, 1)]))
        with pytest.raises(lmdb.PanicError):
            received(store)


def test_an_opening_that_fails_is_tried_again(store: Store, failing: Failing) -> None:
    """Where the environment cannot be opened anew either, that is a StoreError, and the next one tries it again."""
    with pytest.raises(StoreFull):
        Writer(store).write(Group([numbered(2, 1)]))
    failing.error = lmdb.MemoryError("mdb_env_open: Cannot allocate memory")
    for _ in range(2):
        with pytest.raises(StoreError, match="Cannot allocate memory"):
            received(store)
    failing.error = None
    assert received(store) == 1


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, StoreFull), (errno.EIO, StoreFailed)])
def test_what_was_taken_back_is_flushed(
    store: Store, failing: Failing, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    """Nothing is written before the meta page of before is on the disk: the failed one may be there instead, and names
    pages that would be used again."""
    writer = Writer(store)
    with pytest.raises(StoreFull):
        writer.write(Group([numbered(2, 1)]))
    failing.faults.unlink()

    def refused(file: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sync, "flush_data", refused)
    for _ in range(2):
        with pytest.raises(expected, match=r"data\.mdb cannot be flushed"):
            writer.write(Group([numbered(2, 1)]))
    monkeypatch.undo()
    writer.write(Group([numbered(2, 1)]))
    assert received(store) == 2
