"""Replaces a configuration file: at once, as one file that was written and flushed before; or not at all.

Who changes it this way holds a lock on it meanwhile, so that of two changes at a time neither is lost. An editor takes
no lock; what it has saved since the file was read is seen by the file's time, size and number, and stays.
"""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.config.toml_text import CONFIG_BYTES_MAX, ConfigError


class FileChanged(Exception):
    """Somebody else has changed the file since it was read. Theirs stays."""


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file as it was read under its lock."""

    path: Path
    """Links followed: it is what they lead to that is replaced."""
    content: bytes
    descriptor: int
    found: os.stat_result

    def replace(self, content: bytes) -> None:
        """Put this in the place of the file, on disk when it returns. Mode, owner and access lists stay.

        Raises FileChanged, OSError; then the file is as it was.
        """
        self._check_unchanged()
        if not os.access(self.path, os.W_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, "it is write-protected")
        opened, written = tempfile.mkstemp(prefix=f".{self.path.name[:100]}.", dir=self.path.parent)
        try:
            with os.fdopen(opened, "wb") as file:
                file.write(content)
                file.flush()
                self._make_alike(opened)
                os.fsync(opened)
            self._check_unchanged()
            os.replace(written, self.path)  # noqa: PTH105 - a name and a path
        except BaseException:  # an interrupt too leaves nothing behind, and goes on
            os.unlink(written)  # noqa: PTH108 - as above
            raise
        flush_directory(self.path.parent)

    def _make_alike(self, opened: int) -> None:
        """Give a new file the owner, the access lists and the mode of this one."""
        made = os.fstat(opened)
        if (made.st_uid, made.st_gid) != (self.found.st_uid, self.found.st_gid):
            try:
                os.fchown(opened, self.found.st_uid, self.found.st_gid)
            except PermissionError:
                raise PermissionError(errno.EPERM, "it would get another owner; run this as root") from None
        with contextlib.suppress(OSError):  # a file system without them
            for name in os.listxattr(self.descriptor):
                with contextlib.suppress(OSError):  # some are the kernel's own
                    os.setxattr(opened, name, os.getxattr(self.descriptor, name))
        os.fchmod(opened, stat.S_IMODE(self.found.st_mode))

    def _check_unchanged(self) -> None:
        try:
            now = self.path.stat()
        except OSError:
            raise FileChanged from None
        if _identity(now) != _identity(self.found):
            raise FileChanged


@contextmanager
def locked(path: Path) -> Iterator[LockedFile]:
    """Read the file, and keep its lock within the block. Waits for whoever has the lock. Raises ConfigError."""
    with contextlib.ExitStack() as stack:
        try:
            real = Path(os.path.realpath(path))
            descriptor = _lock(real)
            stack.callback(os.close, descriptor)
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError([f"{path}: is not a regular file"])
            with os.fdopen(os.dup(descriptor), "rb") as file:
                content = file.read(CONFIG_BYTES_MAX + 1)
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
        yield LockedFile(real, content, descriptor, found)


def _lock(path: Path) -> int:
    """Return a descriptor of the file that has this name once the lock is had: its last holder may have replaced it."""
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:  # an interrupt too leaves nothing behind, and goes on
            os.close(descriptor)
            raise
        os.close(descriptor)


def flush_directory(path: Path) -> None:
    """Return when the names in this directory are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
