"""Where a copy is written before it has its name: `NAME.unfinished`, of one process at a time.

- `NAME.unfinished/being-made`: the mark. Its flock is held from before anything is written until the copy has its name,
  so over its verification too, when nothing in the copy itself is locked. It is made first, and goes last.
- `NAME.unfinished/copy`: the copy. It leaves in one step, when it takes its name, so a finished copy has no mark.

So what a killed backup has left is a directory with the mark, and with nothing but these two. Whatever else has that
name is somebody's: a store, a finished backup; it is not touched, and named to who asks.
"""

import errno
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
        _check_ours(directory)
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
            mine._empty()
        except BlockingIOError:
            os.close(lock_file)
            raise held from None
        except BaseException:  # whatever it was, Ctrl-C too: the lock is nobody's any more
            os.close(lock_file)
            raise
        return mine

    def _empty(self) -> None:
        """Remove a copy that a killed process has left."""
        try:
            _check_ours(self._directory)
        except StoreError:  # what came since the first look, as a copy of another process that took this name
            (self._directory / MARK).unlink()
            raise
        self._directory.chmod(0o700)
        if os.path.lexists(self.copy):
            shutil.rmtree(self.copy)
        sync.flush_directory(self._directory)

    def name(self, to: Path) -> None:
        """Give the copy its name, which is on the disk then. Raises StoreError, OSError."""
        if not self._is_held():
            raise StoreError(f"{self._directory} was taken away or replaced while the backup was made")
        try:
            self.copy.replace(to)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
                raise StoreError(f"{to} came while the backup was made, and stays as it is") from None
            raise
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


def check_apart(directory: Path, store: Path) -> None:
    """Raise StoreError if what would be written and removed is where this store is."""
    place = directory.resolve()
    for held in (store.resolve(), (store / "data.mdb").resolve()):
        if place.is_relative_to(held) or held.is_relative_to(place):
            raise StoreError(
                f"the backup would be made in {directory} until it is whole, and the store that it is of is there: "
                "name another place"
            )


def _check_ours(directory: Path) -> None:
    """Raise StoreError if there is something else than what a killed backup leaves; an empty directory is nothing."""
    try:
        names = {"a link"} if directory.is_symlink() else {each.name for each in directory.iterdir()}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        names = {"a file"}
    if not names or (MARK in names and names <= {MARK, COPY}):
        return
    raise StoreError(
        f"the backup would be made in {directory} until it is whole, and that is there already, and is not what a "
        "killed backup of this version leaves: move it away, or name another place; remove it if a backup of an "
        "earlier version was killed and left it"
    )
