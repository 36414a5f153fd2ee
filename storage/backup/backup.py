"""A backup: a whole store in a directory of its own, made beside the running server, or of a stopped store.

Order of operations:

1. The copy is written beside its name, in `NAME.unfinished`, which is locked until the end: see `unfinished.py`. It is
   read in short transactions of the store: see `walk.py`. No reader is held, so that the pages that the server frees
   meanwhile are used again.
2. The journal is read, and then one last transaction, of what changed meanwhile: see `settle.py`. What was acknowledged
   before is in the one or the other.
3. What only the journal has goes into the copy. The copy is verified.
4. It takes its name, in one step, when all of it is on the disk.

So what has the name is whole, whenever the process is killed; what it leaves is removed by the next backup.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from storage import sync
from storage.backup.settle import Copy, balance, settle
from storage.backup.unfinished import Unfinished, check_apart
from storage.backup.walk import Walk
from storage.check.verify import Report, verify
from storage.codec.records import key_of
from storage.errors import StoreDamaged, StoreError, StoreFull
from storage.frozen import frozen
from storage.journal.records import JOURNAL_BYTES, open_file
from storage.lmdb_store import disk
from storage.lmdb_store.environment import Store
from storage.lmdb_store.witness import Reached
from storage.read.snapshot import Snapshots
from storage.statuses import Totals, grown
from storage.write.writer import Writer

COMMIT_BYTES = 16 * 2**20
"""Of values in one transaction of the copy."""

TAIL_BYTES_MAX = 2**20
"""What the last round may have brought; the last transaction then reads about as much."""

ROUNDS_MAX = 20
"""After so many rounds the last transaction takes what there is, since events come as fast as they are copied."""

MAP_BYTES_MIN = 64 * 2**20

COPYING = "copying"
VERIFYING = "verifying"

OnProgress = Callable[[str, int, int], None]
"""Hears what is being done, at which event, and of how many."""


@frozen
class Backup:
    """What was made."""

    report: Report
    """What was found in the copy."""
    last_number: int
    """Of the last event; 0 if there is none."""
    recovered: int
    """Events that only the journal had."""
    size: int
    """Bytes of `data.mdb`."""
    reads: int
    """How many transactions of the store were read."""
    longest_read_seconds: float


class Reads:
    """Reads transactions of the store, and knows how long they take."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.count = 0
        self.longest_seconds = 0.0

    @contextmanager
    def take(self) -> Iterator[Any]:
        began = time.monotonic()
        with self._store.read_transaction() as txn:
            yield txn
        self.count += 1
        self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)


def back_up(path: Path, to: Path, on_progress: OnProgress) -> Backup:
    """Copy the store in the directory `path` to `to`, an empty directory or one that is not there yet.

    Raises StoreMissing, StoreOld, StoreLocked if another process makes the same backup, StoreFull if there is too
    little room, StoreDamaged, StoreError, OSError; then there is nothing in `to`.
    """
    _check_place(path, to)
    to = to.resolve()
    directory = to.with_name(f"{to.name}.unfinished")
    check_apart(directory, path)
    with closing(Store.open(path, mode="read")) as store:
        unfinished = Unfinished.take(directory)
        try:
            _check_place(path, to)  # another process may have ended meanwhile
            _check_room(to.parent, store.used_bytes())
            made = make_copy(store, unfinished.copy, on_progress)
            _flush(unfinished.copy)
            unfinished.name(to)
        finally:
            unfinished.end()
    return made


def _check_place(path: Path, to: Path) -> None:
    if os.path.lexists(to) and not (to.is_dir() and not to.is_symlink() and not any(to.iterdir())):
        raise StoreError(f"{to} is there already, and is no empty directory")
    if not to.resolve().parent.is_dir():
        raise StoreError(f"{to.resolve().parent} is not a directory")
    if to.resolve().is_relative_to(path.resolve()):
        raise StoreError(f"{to} is in the directory of the store: name one beside it, or on another disk")


def make_copy(store: Store, path: Path, on_progress: OnProgress) -> Backup:
    """Write a copy of this store, of which a server may write on, into the directory `path`, and verify it."""
    map_size_bytes = max(store.map_size_bytes, 2 * store.used_bytes(), MAP_BYTES_MIN)
    reads = Reads(store)
    with closing(Store.open(path, map_size_bytes=map_size_bytes, mode="write")) as copy:
        journal = _copy(store, reads, copy, on_progress)
    recovered = _recover(path, map_size_bytes, journal)
    last = 0
    with closing(Store.open(path, mode="read")) as copy, Snapshots(copy).take() as snapshot:
        last = snapshot.end - 1
    report = verify(path, lambda _, number: on_progress(VERIFYING, min(number, last), last))
    if report.problems:
        raise StoreDamaged(f"the copy is not right: {report.problems[0]}")
    size = (path / "data.mdb").stat().st_size
    return Backup(report, last, recovered, size, reads.count, reads.longest_seconds)


def _check_room(directory: Path, used_bytes: int) -> None:
    """Ask for what the store holds, a part more, since events come meanwhile, and a reserve. Raises StoreFull."""
    needed, free = used_bytes + used_bytes // 8 + 2 * disk.LOW_BYTES, disk.free_bytes(directory)
    if free < needed:
        takes = f"the backup takes {-(-needed // 2**20):,} MiB of the disk of {directory}"
        raise StoreFull(f"{takes}, where {free // 2**20:,} MiB are free")


def _copy(store: Store, reads: Reads, copy: Store, on_progress: OnProgress) -> bytes:
    """Write the copy; return the journal as it was before the moment at which the copy is."""
    before, last = _left(store), 0
    with Snapshots(store).take() as snapshot:
        last = snapshot.end - 1
    walk = Walk(store)
    for _ in range(ROUNDS_MAX):
        if _round(walk, reads, copy, lambda: on_progress(COPYING, min(walk.at, last), last)) <= TAIL_BYTES_MAX:
            break
    journal = _journal(store.path)
    with copy.write_transaction() as txn, reads.take() as read:
        settle(walk, store, read, Copy(copy, txn))
    if _left(copy) != before:
        balance(copy)
    return journal


def _round(walk: Walk, reads: Reads, copy: Store, on_step: Callable[[], None]) -> int:
    """Copy what has come since the round before; return how many bytes."""
    size, more = 0, True
    while more:
        with copy.write_transaction() as txn:
            target = Copy(copy, txn)
            while more and target.size < COMMIT_BYTES:
                again = key_of(walk.last)
                with reads.take() as read:
                    values, more = walk.step(read)
                for value in values:
                    target.put(*value, append=value[1] != again)
                on_step()
        size += target.size
    return size


def _left(store: Store) -> dict[str, tuple[int, int]]:
    """Return how much has left, by source: of bodies, and of receipts."""
    with Snapshots(store).take() as snapshot:
        totals: dict[str, Totals] = snapshot.totals()
    return {name: (found.expired, found.receipts_left) for name, found in totals.items()}


# The journal.


def _journal(path: Path) -> bytes:
    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            return file.read(JOURNAL_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"the journal cannot be read: {error}") from error


def _recover(path: Path, map_size_bytes: int, journal: bytes) -> int:
    """Put into the copy what only this journal has, and let it know how far it is; return how many events that were."""
    (path / "journal").write_bytes(journal)
    with closing(Store.open(path, map_size_bytes=map_size_bytes, mode="write")) as copy:
        writer = Writer(copy)
        with Snapshots(copy).take() as snapshot:
            found = snapshot.store_time()
        store_ms = found.store_ms if found else 0
        copy.witness.stored(Reached(writer.next_number, store_ms, grown(writer.totals.values())))
    (path / "journal").unlink()
    return writer.recovered


def _flush(copy: Path) -> None:
    """Return when all of it is on the disk: `data.mdb` is, by its commits."""
    file = os.open(copy / "writer.lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        sync.flush_file(file)
    finally:
        os.close(file)
    sync.flush_directory(copy)
