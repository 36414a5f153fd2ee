"""The lock of the one writing process: an flock on `writer.lock`, until its descriptor is closed."""

import fcntl
import os
import time
from pathlib import Path

from storage.errors import StoreError, StoreLocked
from storage.lmdb_store.disk import give_to_owner

LOCK_POLL_SECONDS = 0.02


def take(path: Path, wait_seconds: float) -> int:
    """Take the lock, and make the directory if there is none. Return its descriptor. Raises StoreLocked, StoreError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        lock_file = os.open(path / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_to_owner(path / "writer.lock")
    except OSError as error:
        raise StoreError(f"the directory of the store cannot be used: {error}") from error
    until = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() >= until:
                os.close(lock_file)
                raise StoreLocked(f"another process writes to the store in {path}") from error
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return lock_file
