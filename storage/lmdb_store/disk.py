"""The disk under a store: is an I/O error a full disk, is there room for the file that LMDB maps to write in, and whose
are its files?
"""

import contextlib
import errno
import fcntl
import math
import os
import resource
import stat
from pathlib import Path

from storage.errors import StoreError, StoreFull
from storage.lmdb_store.file_system import write_in_place

LOW_BYTES = 16 * 2**20
"""A disk with less is full: it was a write of some MiB at most that found no room."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when there is no room: on the disk, for this user, or in a file of a process (`ulimit -f`)."""

LOCK_FILE_BYTES = 65536
"""Of lock.mdb: LMDB's table of 1022 readers. The usual 126 are soon taken by commands that run side by side."""

LOCK_FILE_BYTES_MIN = 8192
"""Of 126 readers. LMDB enlarges a smaller file, without allocating it."""


def is_full(path: Path) -> bool:
    """Return whether an I/O error of a write in this directory says that the disk is full.

    LMDB reports a write that stopped short as EIO, and a disk that becomes full stops nearly every write short; so does
    a file that reaches the limit of this process. An EIO of the disk itself looks the same and must stay what it is;
    what tells them apart is that a full disk is full.

    Taking the disk's own error for a full disk, if both come at once, loses nothing: the transaction was aborted and
    nothing of it acknowledged; the meta page still names the one before, whose every page was flushed before it was
    named. The next transaction starts there, writes anew all pages that it adds, and flushes them before it is named
    itself, so it relies on nothing that the failed flush may have dropped. If the meta page itself could not be
    written, it is taken back: see `storage/lmdb_store/transactions.py`.
    """
    try:
        return min(free_bytes(path), growth_bytes(path / "data.mdb")) < LOW_BYTES
    except OSError:
        return False


def free_bytes(path: Path | int) -> int:
    """Return how many bytes this process may still write beside this path or open file."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def is_writable(file: Path) -> bool:
    """Return whether this process can write to the file, or make it if there is none."""
    if file.exists():
        return os.access(file, os.R_OK | os.W_OK, effective_ids=True)
    return os.access(file.parent, os.W_OK | os.X_OK, effective_ids=True)


def growth_bytes(file: Path) -> float:
    """Return how much larger this process may make a file."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return math.inf if limit == resource.RLIM_INFINITY else limit - file.stat().st_size


def give_to_owner(file: Path) -> None:
    """Give a file that root made in a directory of somebody else's to that owner, who could not open it otherwise."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        found, owner = file.lstat(), file.parent.stat()
        if found.st_uid == 0 and owner.st_uid != 0 and stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)


def allocate_lock_file(path: Path) -> bool:
    """Give lock.mdb its room on the disk before LMDB stores through a map of it, which a full disk ends by SIGBUS.

    Return whether another process has it open. LMDB takes the size of its table from the file. Raises StoreFull,
    StoreError. What is in the file stays.
    """
    try:
        opened = os.open(path / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            in_use = _is_in_use(opened)
            _allocate(opened, path, in_use=in_use)
        finally:
            os.close(opened)
    except OSError as error:
        if error.errno in {errno.EOPNOTSUPP, errno.EINVAL}:  # a filesystem without it
            return False
        words = f"{path / 'lock.mdb'} cannot be made: {error.strerror}"
        raise (StoreFull if error.errno in FULL else StoreError)(words) from error
    return in_use


def _allocate(lock_file: int, path: Path, *, in_use: bool) -> None:
    if not in_use:
        write_in_place(lock_file, path)
    found = os.fstat(lock_file)
    allocated = min(found.st_size, found.st_blocks * 512)
    needed = found.st_size if in_use else LOCK_FILE_BYTES
    if allocated < needed:
        try:
            os.posix_fallocate(lock_file, 0, needed)
        except OSError:
            os.posix_fallocate(lock_file, 0, min(needed, LOCK_FILE_BYTES_MIN))


def _is_in_use(lock_file: int) -> bool:
    """Return whether another process maps lock.mdb: it would not see places that are added to the table."""
    try:
        fcntl.lockf(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
    except BlockingIOError:
        return True
    return False
