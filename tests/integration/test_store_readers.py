"""LMDB's table of readers, which all processes share: full of them, or of those that were killed."""

import gc
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import lmdb
import pytest

from storage.errors import StoreError
from storage.lmdb_store import disk, transactions
from storage.lmdb_store.environment import Store
from storage.lmdb_store.transactions import PLACES_KEPT
from storage.model import Group
from storage.read.reader import Reader
from tests.support.readers import READERS_MAX, other_readers
from tests.support.store import filled, numbered, opened
from tests.support.waiting import eventually

OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from storage.lmdb_store.environment import Store
Store.open(Path(sys.argv[1]), mode="read").close()
"""


def places_taken(store: Store) -> int:
    return len(str(store.env.readers()).splitlines()) - 1


def test_a_full_table_never_stops_a_server(tmp_path: Path) -> None:
    """While others hold every place, the threads of a writing process read at once in the places that it keeps."""
    path = tmp_path / "store"
    with opened(path) as (store, writer), other_readers(path):
        assert places_taken(store) == READERS_MAX
        for number in range(1, 4):
            writer.write(Group([numbered(number, 1)]))
            with ExitStack() as together:
                for _ in range(PLACES_KEPT):
                    together.enter_context(store.read_transaction())
                with pytest.raises(StoreError, match="too many processes read the store"), store.read_transaction():
                    pass
        threads = [threading.Thread(target=Reader(store).totals) for _ in range(PLACES_KEPT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Reader(store).totals()["demo"].received == 3


def test_places_of_the_killed_are_found(tmp_path: Path) -> None:
    """Whoever finds no place frees those of processes that were killed, and reads."""
    path = tmp_path / "store"
    with opened(path) as (store, _), ExitStack() as together:
        with other_readers(path):
            pass
        assert places_taken(store) == READERS_MAX
        for _ in range(PLACES_KEPT + 1):
            together.enter_context(store.read_transaction())


def test_each_command_frees_what_was_killed(tmp_path: Path) -> None:
    """Opening a store frees the places of killed readers, so that any number of them, one by one, fill no table."""
    path = tmp_path / "store"
    with opened(path) as (store, _):
        before = places_taken(store)
        with other_readers(path, 3):
            pass
        assert places_taken(store) == before + 3
        subprocess.run([sys.executable, "-c", OPEN_AND_CLOSE, str(path)], check=True)
        assert places_taken(store) == before


def test_an_opening_command_waits_for_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that finds the table full waits for the server's check, and says in words that it waited in vain."""
    path = tmp_path / "store"
    filled(path, [Group([numbered(1, 1)])])
    attempts = []

    def full_twice(*args: object, **options: object) -> lmdb.Environment:
        attempts.append(options)
        if len(attempts) < 3:
            raise lmdb.ReadersFullError("mdb_txn_begin: MDB_READERS_FULL")
        return lmdb.open(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    Store.open(path, mode="read", open_environment=full_twice).close()
    attempts.clear()
    monkeypatch.setattr(transactions, "PLACE_WAIT_SECONDS", 0)
    with pytest.raises(StoreError, match="too many processes read the store at once: end some"):
        Store.open(path, mode="read", open_environment=full_twice)


def test_a_table_in_use_keeps_its_size(tmp_path: Path) -> None:
    """A lock file of an older version grows when nobody has it open: others would not see the places that are added."""
    path = tmp_path / "store"
    lmdb.open(str(path), lib_version=0, max_readers=126).close()
    with other_readers(path, 1) as child:
        disk.allocate_lock_file(path)
        assert (path / "lock.mdb").stat().st_size < disk.LOCK_FILE_BYTES
        child.kill()
        eventually(lambda: child.poll() is not None)
    disk.allocate_lock_file(path)
    assert (path / "lock.mdb").stat().st_size == disk.LOCK_FILE_BYTES


def test_look_ups_give_their_places_back(tmp_path: Path) -> None:
    """At once, and not when garbage is next collected: a thousand look-ups would take the places of all processes."""
    path = tmp_path / "store"
    with opened(path) as (store, writer):
        writer.write(Group([numbered(1, 1)]))
        gc.disable()
        try:
            for _ in range(PLACES_KEPT + 1):
                assert Reader(store).find("demo", "none", bodies=False) == []
        finally:
            gc.enable()
        assert places_taken(store) == PLACES_KEPT
