"""What LMDB raises, as what the store raises."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import lmdb

from storage.errors import (
    ProcessNumberTaken,
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreInterrupted,
    StoreLocked,
    StoreVersion,
)
from storage.lmdb_store import disk, file_system

INTERRUPTIONS_MAX = 10
"""In a row: signals are few, so that more are something else."""

Result = TypeVar("Result")

_NOT_SUPPORTED = (errno.EINVAL, errno.ENODEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""What file systems say to a map, a lock or a flush of a directory that they do not have."""


@contextmanager
def lmdb_errors(written: Path | None = None) -> Iterator[None]:
    """Raise every lmdb.Error as a StoreError. `written`: the directory of the store, if something is written."""
    try:
        yield
    except lmdb.PanicError:
        raise
    except lmdb.Error as error:
        raise translated(error, written) from error


@contextmanager
def opening_errors(path: Path) -> Iterator[None]:
    """Raise what opening the store in this directory raises as a StoreError, which names a file system that cannot."""
    try:
        yield
    except (OSError, StoreError) as error:
        if says(str(error), *_NOT_SUPPORTED):
            name = file_system.name_of(path) or "of an unknown type"
            raise StoreError(
                f"the file system of {path} ({name}) cannot keep a store, which takes shared maps of files, locks, and "
                f"flushed directories: {error}; set storage.path to a directory of a local one, such as ext4 or xfs"
            ) from error
        if isinstance(error, StoreError):
            raise
        raise StoreError(str(error)) from error


def translated(error: lmdb.Error, written: Path | None) -> StoreError:
    words = str(error)
    if isinstance(error, lmdb.MapFullError) or says(words, *disk.FULL):
        return StoreFull(words)
    if says(words, errno.EIO):
        if written is not None and disk.is_full(written):
            return StoreFull(f"{words}, and the disk is full")
        return StoreFailed(words)
    if says(words, errno.EINTR):
        return StoreInterrupted(words)
    if is_of_number(error):
        found = "a process of another container that uses the store has the same process number as this one: try again"
        return ProcessNumberTaken(found) if written is None else StoreLocked(found)
    if isinstance(error, lmdb.ReadersFullError):
        return StoreError("too many processes read the store at once: end some of them, or try again later")
    if isinstance(error, lmdb.VersionMismatchError):
        return StoreVersion(words)
    if isinstance(error, (lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.NotFoundError)):
        return StoreDamaged(words)
    return StoreError(words)


def uninterrupted(call: Callable[[], Result]) -> Result:
    """Return what it returns; call it again if a signal interrupts it, which it does as a whole or not at all."""
    for _ in range(INTERRUPTIONS_MAX):
        with contextlib.suppress(StoreInterrupted):
            return call()
    return call()


def is_of_number(error: lmdb.Error) -> bool:
    """Return whether no read begins since the byte of lock.mdb for this process's number is locked by another."""
    return says(str(error), errno.EAGAIN)


def says(words: str, *numbers: int) -> bool:
    """Return whether LMDB's words are those of one of these errors: it raises the system's as a plain lmdb.Error."""
    return any(os.strerror(number) in words for number in numbers)
