"""A stopped store of an older format becomes one of the present format, in its own directory.

Order of operations, under the lock of the writer:

1. The old file gets a second name, `data.mdb.format-N`.
2. The new store is written into the directory `data.mdb.migrating`, with what only the journal has; and verified. If
   the journal had something, a copy of it is kept.
3. The new file takes the name `data.mdb`: before that step the store is wholly the old one, after it the new one.
4. What is of no use any more goes: the journal, of which everything is in the store; and the directory.

So it may be killed anywhere and run again: up to step 3 it starts over, and behind it the rest is of no consequence.
The old store is never written to.
"""

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from storage import sync
from storage.check.verify import verify
from storage.errors import StoreDamaged, StoreError, StoreFull, StoreMissing, StoreOld
from storage.frozen import frozen
from storage.lmdb_store import disk, lock
from storage.lmdb_store.child import command, environment
from storage.lmdb_store.environment import Store
from storage.lmdb_store.errors import lmdb_errors
from storage.lmdb_store.making import RETENTION_KEY
from storage.migrate.format_1 import NUMBER, OldStore
from storage.migrate.format_1_records import appends_in
from storage.migrate.records import Record, records_of
from storage.model import Group
from storage.write.writer import Writer, journaled

COMMIT_BYTES = 16 * 2**20
"""Of values in one transaction."""

MAP_BYTES_MIN = 64 * 2**20

OnProgress = Callable[[str, int, int], None]
"""Hears what is being done, how many events are through, and of how many."""

CONVERTING = "converting"
VERIFYING = "verifying"
WAITING = "waiting until no other command reads the store"


@frozen
class Migrated:
    """What was done."""

    events: int
    recovered: int
    """Those of them that only the journal had."""


def is_old(path: Path) -> bool:
    """Return whether the store in this directory has to be converted. Raises StoreError."""
    try:
        Store.open(path, mode="read").close()
    except StoreOld:
        return True
    return False


def kept_files(path: Path) -> list[Path]:
    """Return the files of older formats that were kept in this directory."""
    found = (path / f"{name}.format-{NUMBER}" for name in ("data.mdb", "journal"))
    return [each for each in found if each.is_file()]


def discard_old(path: Path) -> list[Path]:
    """Remove the files of older formats beside a store of the present one; return their names. Raises StoreError."""
    Store.open(path, mode="read").close()
    found = kept_files(path)
    for each in found:
        each.unlink(missing_ok=True)
    return found


def clear(path: Path) -> None:
    """Remove what a conversion has left that was killed when all was done but this."""
    shutil.rmtree(path / "data.mdb.migrating", ignore_errors=True)


def migrate(path: Path, map_size_bytes: int, on_progress: OnProgress) -> Migrated:
    """Convert the store in this directory; call it if `is_old`. `map_size_bytes`: of the server that will open it.

    Raises StoreLocked if a server runs, StoreFull if the disk has too little room, StoreDamaged, StoreError, OSError;
    the old store is in its place then.
    """
    if not path.is_dir():
        raise StoreMissing(f"there is no store in {path}")
    lock_file = lock.take(path, 0)
    try:
        clear(path)
        with _kept(path / "data.mdb", path / f"data.mdb.format-{NUMBER}"):
            try:
                done = _write(path, path / "data.mdb.migrating", map_size_bytes, on_progress)
                _put_in_place(path, done, on_progress)
            finally:
                clear(path)
        return done
    finally:
        os.close(lock_file)


@contextmanager
def _kept(data: Path, kept: Path) -> Iterator[None]:
    """Give the old file its second name, for good once another has taken the first."""
    if data.is_symlink():
        raise StoreError(f"{data} is a symbolic link: put the file itself there, or make the directory a link")
    if not os.path.lexists(kept):
        try:
            kept.hardlink_to(data)
        except OSError as error:
            words = f"the old file cannot be kept as {kept}: {error.strerror}; it takes a file system with hard links"
            raise StoreError(words) from error
    elif kept.is_symlink() or not kept.samefile(data):
        raise StoreError(f"{kept} is there already, and is not the store that is to be converted: move it away")
    try:
        yield
    except BaseException:
        if kept.samefile(data):
            kept.unlink()
            _kept_journal(data.parent).unlink(missing_ok=True)
        raise


def _kept_journal(path: Path) -> Path:
    return path / f"journal.format-{NUMBER}"


# The new store.


def _write(path: Path, new: Path, map_size_bytes: int, on_progress: OnProgress) -> Migrated:
    _check_readable(path)
    with lmdb_errors(path), closing(OldStore(path)) as old:
        events = old.end - 1
        _check_room(path, old.used_bytes)
        map_size_bytes = max(map_size_bytes, 2 * old.used_bytes, MAP_BYTES_MIN)
        with closing(Store.open(new, map_size_bytes=map_size_bytes, mode="write")) as store:
            with store.write_transaction() as txn:
                txn.delete(RETENTION_KEY, db=store.meta)  # it is as old as what it holds
            records = records_of(old, lambda number: on_progress(CONVERTING, number, events))
            while _put(records, store):
                pass
            done = _recover(old, store, events)
    report = verify(new, lambda _, number: on_progress(VERIFYING, min(number, done.events), done.events))
    if report.problems or report.events != done.events:
        found = report.problems or [f"it has {report.events} events, not {done.events}"]
        raise StoreDamaged(f"what was converted is not right: {found[0]}")
    return done


def _check_readable(path: Path) -> None:
    """Read the old store in a child: bad damage ends its reader by a signal, which must not be this process."""
    ended = subprocess.run(  # noqa: S603 - our own interpreter and module
        command("storage.migrate.format_1", path), stderr=subprocess.DEVNULL, env=environment(), check=False
    ).returncode
    if ended < 0:
        raise StoreDamaged(f"reading it ends by {signal.Signals(-ended).name}")


def _check_room(path: Path, used_bytes: int) -> None:
    """Ask for half as much again as the old store holds, and a reserve: values round up to pages. Raises StoreFull."""
    needed, free = used_bytes * 3 // 2 + 2 * disk.LOW_BYTES, disk.free_bytes(path)
    if free < needed:
        raise StoreFull(f"converting takes {_mib(needed)} of the disk of {path}, where {_mib(free)} are free")


def _mib(size: int) -> str:
    return f"{-(-size // 2**20):,} MiB"


def _put(records: Iterator[Record], store: Store) -> bool:
    """Put as many as go into one transaction; return whether there may be more."""
    size = 0
    with store.write_transaction() as txn:
        for name, key, value in records:
            txn.put(key, value, db=getattr(store, name), append=name != "meta")
            size += len(value)
            if size >= COMMIT_BYTES:
                return True
    return False


def _recover(old: OldStore, store: Store, events: int) -> Migrated:
    """Put what only the journal has into the new store."""
    writer = Writer(store)
    appends = journaled(old, events + 1, appends_in)
    if appends:
        now_ms = writer.clock.now_ms()
        writer.write(Group([replace(append, store_ms=min(append.store_ms, now_ms)) for append in appends]))
    return Migrated(writer.next_number - 1, writer.next_number - 1 - events)


# In the place of the old one.


def _put_in_place(path: Path, done: Migrated, on_progress: OnProgress) -> None:
    data, journal = path / "data.mdb", path / "journal"
    if done.recovered:
        _copy(journal, _kept_journal(path))
    sync.flush_directory(path)
    with _alone(path, lambda: on_progress(WAITING, 0, 0)):
        (path / "data.mdb.migrating" / "data.mdb").replace(data)
        disk.give_to_owner(data)
        (path / "lock.mdb").unlink()
    sync.flush_directory(path)
    journal.unlink(missing_ok=True)


def _copy(file: Path, to: Path) -> None:
    with file.open("rb") as source, to.open("wb") as target:
        os.fchmod(target.fileno(), 0o600)
        shutil.copyfileobj(source, target)
        target.flush()
        sync.flush_file(target.fileno())
    disk.give_to_owner(to)


@contextmanager
def _alone(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Keep every other process from opening the store in this directory, once all that have it open have closed it.

    LMDB takes what is the newest transaction from `lock.mdb` as long as a process has that open. With another
    `data.mdb` beside it that would be wrong, so the block must remove `lock.mdb` too.
    """
    opened = os.open(path / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)  # the byte that LMDB locks
        except OSError:
            on_wait()
            fcntl.lockf(opened, fcntl.LOCK_EX, 1)
        yield
    finally:
        os.close(opened)
