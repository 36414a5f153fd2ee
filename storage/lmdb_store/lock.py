"""The lock of the one writing process: an flock on `writer.lock`, until its descriptor is closed.

A process that reads where it cannot write has no place in LMDB's table of readers, so that a writer would use the pages
again that it reads. It takes the same lock, shared, which needs no right to write: so it is refused while a writer
lives, on another mount too, and none starts while it reads.
"""

import fcntl
import os
import time
from pathlib import Path

from storage.errors import StoreError, StoreLocked
from storage.lmdb_store.disk import give_to_owner
from storage.lmdb_store.place import unusable

LOCK_POLL_SECONDS = 0.02


def take(path: Path, wait_seconds: float) -> int:
    """Take the lock, and make the directory if there is none. Return its descriptor. Raises StoreLocked, StoreError."""
    words = unusable(path)
    if words is not None:
        raise StoreError(words)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        lock_file = os.open(path / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_to_owner(path / "writer.lock")
    except OSError as error:
        raise StoreError(f"the directory of the store cannot be used: {error}") from error
    until = time.monotonic() + wait_seconds
    while True:
        if _lock(lock_file, fcntl.LOCK_EX):
            return lock_file
        if time.monotonic() >= until:
            does = "reads, without writing," if _lock(lock_file, fcntl.LOCK_SH) else "writes to"
            os.close(lock_file)
            raise StoreLocked(f"another process {does} the store in {path}")
        time.sleep(LOCK_POLL_SECONDS)


def keep_writers_away(path: Path) -> int | None:
    """Return the descriptor of a shared lock; None if there is no lock file, as beside a copy of data.mdb alone.

    Raises StoreLocked while a writer lives, StoreError.
    """
    try:
        lock_file = os.open(path / "writer.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"whether a server writes to the store cannot be seen: {error}") from error
    if _lock(lock_file, fcntl.LOCK_SH):
        return lock_file
    os.close(lock_file)
    raise StoreLocked(
        f"{path / 'lock.mdb'} cannot be written from here, and a server writes to the store: run the command where the "
        "server runs, mount the store for writing, or ask the server's admin side"
    )


def _lock(lock_file: int, operation: int) -> bool:
    """Return whether the lock could be taken. Raises StoreError if it is no question of another process."""
    try:
        fcntl.flock(lock_file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        os.close(lock_file)
        raise StoreError(f"writer.lock cannot be locked: {error.strerror}") from error
    return True
