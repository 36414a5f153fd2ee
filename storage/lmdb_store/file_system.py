"""The file system under a store: its name, and what it must be told."""

import contextlib
import fcntl
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_LONG = struct.Struct("@l")
_GET_FLAGS = 0x80000000 | _LONG.size << 16 | ord("f") << 8 | 1
_SET_FLAGS = 0x40000000 | _LONG.size << 16 | ord("f") << 8 | 2
"""FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of Linux."""
_WRITTEN_IN_PLACE = 0x00800000
"""FS_NOCOW_FL."""


MOUNTS = Path("/proc/self/mountinfo")


class Mount(NamedTuple):
    """What is mounted somewhere, in the order of the kernel's list."""

    root: str
    """The directory of the file system that is seen there."""
    at: str
    type: str
    options: str
    """Of the file system."""


def mounts(file: Path = MOUNTS) -> Iterator[Mount]:
    """Yield what is mounted, as this process sees it; nothing if the kernel does not tell."""
    with contextlib.suppress(OSError):
        for line in file.read_text(errors="surrogateescape").splitlines():
            where, _, what = line.partition(" - ")
            root, at = (
                re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), each) for each in where.split()[3:5]
            )
            kind, _, options = what.split()[:3]
            yield Mount(root, at, kind, options)


def name_of(path: Path, file: Path = MOUNTS) -> str:
    """Return the type of the file system that holds this path, as the kernel names it; empty if that is unknown."""
    path = path.resolve()
    above = [each for each in mounts(file) if path.is_relative_to(each.at)]
    return max(reversed(above), key=lambda each: len(each.at)).type if above else ""


def write_in_place(lock_file: int, path: Path) -> None:
    """Have lock.mdb in the directory `path`, which nobody uses, written where it is allocated; empties it if need be.

    On btrfs a store through a map into a page that was written to the disk needs new room, even where the file has its
    own: a full disk ends it by SIGBUS. Not so in a file that is written in place, while no snapshot shares it (seen
    with Linux 6.18; older ones may differ).
    """
    if name_of(path) != "btrfs":
        return
    with contextlib.suppress(OSError):
        (flags,) = _LONG.unpack(fcntl.ioctl(lock_file, _GET_FLAGS, bytes(_LONG.size)))
        if not flags & _WRITTEN_IN_PLACE:
            os.ftruncate(lock_file, 0)  # an empty file only can be made one
            fcntl.ioctl(lock_file, _SET_FLAGS, _LONG.pack(flags | _WRITTEN_IN_PLACE))
