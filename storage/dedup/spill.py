"""Sorted runs of the dedup index that do not fit in memory: written to an unnamed file, mapped for reading.

Nobody else can open, truncate or overwrite an unnamed file, and it vanishes with its last mapping: when its run leaves
the window, or when the process ends in any way. So nothing of an earlier process is ever read (the index is rebuilt
from the store), and there is nothing to check or clean up. On a filesystem without unnamed files, one is created with a
name and unlinked at once; a crash between the two leaves an empty file, which the next start removes.

It is written in steps, each flushed to the disk: errors show before the file is used, and the commits of the store on
the same disk never wait for more than one step. It is written with write calls, not through the mapping, where a full
disk would be SIGBUS. Mapped pages belong to the page cache, so the system reclaims them when it needs memory.
"""

import errno
import mmap
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy

from storage import sync
from storage.dedup.runs import GUIDE_STEP, Entries, Run, Words, filter_words, merge
from storage.lmdb_store import disk

DISK_RESERVE_BYTES = 256 * 1024 * 1024
"""Left free on the disk: the store needs it more than the index does."""
STEP_BYTES = 8 * 1024 * 1024
"""Written between two flushes."""
_PREFIX = "index-"


def write(parts: Sequence[Entries], oldest_ms: int, newest_ms: int, directory: Path) -> Run:
    """Return a mapped run of all these entries. Raises OSError if the disk is full or fails."""
    count = sum(len(part.fingerprints) for part in parts)
    words = filter_words(count)
    start = -(-8 * words // mmap.PAGESIZE) * mmap.PAGESIZE // 8  # of the fingerprints: a page
    size = 8 * (start + 2 * count)
    with tempfile.TemporaryFile(dir=directory, prefix=_PREFIX, buffering=0) as file:
        _reserve(file, size)
        guide = _write_slices(file, parts, start, count)
        mapped = mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ)
    if count:
        mapped.madvise(mmap.MADV_RANDOM, 8 * start)
    content = numpy.frombuffer(mapped, numpy.uint64)
    entries = Entries(content[start : start + count], content[start + count :])
    return Run(entries, content[:words], oldest_ms, newest_ms, guide=guide)


def remove_leftovers(directory: Path) -> None:
    """Remove what a crash may have left in the directory on a filesystem without unnamed files."""
    for path in directory.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            path.unlink()


def _reserve(file: BinaryIO, size: int) -> None:
    if disk.free_bytes(file.fileno()) < size + DISK_RESERVE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.posix_fallocate(file.fileno(), 0, size)


def _write_slices(file: BinaryIO, parts: Sequence[Entries], start: int, count: int) -> Words:
    """Write the filter, then from word `start` on the fingerprints, then the numbers; return the guide."""
    descriptor = file.fileno()
    dirty = 0
    guide = []
    for piece in merge(parts):
        for content, place in (
            (piece.filter, piece.word),
            (piece.entries.fingerprints, start + piece.place),
            (piece.entries.numbers, start + count + piece.place),
        ):
            sync.write_at(descriptor, content.tobytes(), 8 * place)
            dirty += content.nbytes
        guide.append(piece.entries.fingerprints[-piece.place % GUIDE_STEP :: GUIDE_STEP].copy())
        if dirty >= STEP_BYTES:
            sync.flush_data(descriptor)
            dirty = 0
    sync.flush_data(descriptor)
    return numpy.concatenate(guide)
