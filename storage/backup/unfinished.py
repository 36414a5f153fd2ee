"""Where a copy is written before it has its name: `NAME.unfinished`, of one process at a time.

- `NAME.unfinished/being-made`: the mark. Its flock is held from before anything is written until the copy has its name,
  so over its verification too, when nothing in the copy itself is locked. It is made first, and goes last.
- `NAME.unfinished/copy`: the copy. It leaves in one step, when it takes its name, so a finished copy has no mark.
"""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from storage import sync
from storage.errors import StoreError, StoreLocked

MARK = "being-made"
COPY = "copy"


class Unfinished:
    """The directory of this process; `copy` in it is not there yet."""

    def __init__(self, directory: Path, lock_file: int) -> None:
        self._directory = directory
        self._lock_file = lock_file
        self.copy = directory / COPY

    @classmethod
    def take(cls, directory: Path) -> "Unfinished":
        """Make it, or take what a killed process has left, which is removed. Raises StoreLocked, StoreError, OSError;
        then all that was there is as it was."""
        _check_marked(directory)
        held = StoreLocked(f"another process makes the backup that {directory} is for")
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            lock_file = os.open(directory / MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the other one has just ended
            raise held from None
        mine = cls(directory, lock_file)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not mine._is_held():  # the other one ended between these steps, and took its mark away
                raise held
            directory.chmod(0o700)
            if os.path.lexists(mine.copy):
                shutil.rmtree(mine.copy)
            sync.flush_directory(directory)
        except BlockingIOError:
            os.close(lock_file)
            raise held from None
        except BaseException:
            os.close(lock_file)
            raise
        return mine

    def name(self, to: Path) -> None:
        """Give the copy its name, which is on the disk then. Raises StoreError, OSError."""
        if not self._is_held():
            raise StoreError(f"{self._directory} was taken away or replaced while the backup was made")
        self.copy.replace(to)
        sync.flush_directory(to.parent)

    def end(self) -> None:
        """Remove it, with a copy that has no name, and give it up."""
        try:
            if self._is_held():
                shutil.rmtree(self.copy, ignore_errors=True)
                if not os.path.lexists(self.copy):
                    with suppress(OSError):  # another process may have made its mark there already
                        (self._directory / MARK).unlink()
                        self._directory.rmdir()
        finally:
            os.close(self._lock_file)

    def _is_held(self) -> bool:
        """Return whether the mark is still the one that this process has locked."""
        try:
            return os.path.samestat(os.fstat(self._lock_file), (self._directory / MARK).lstat())
        except FileNotFoundError:
            return False


def _check_marked(directory: Path) -> None:
    if os.path.lexists(directory):
        is_ours = directory.is_dir() and not directory.is_symlink()
        if not is_ours or not ((directory / MARK).is_file() or not any(directory.iterdir())):
            raise StoreError(f"{directory} is there already, and is not of a backup: move it away")
