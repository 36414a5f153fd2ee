"""Is there room for deliveries, in the map and on the disk?

Of both a part is kept for what goes on when deliveries are refused: outcomes, requeues, and what leaves. In the map,
since on a full one even a deletion fails: `Store.reserve_bytes`. On the disk, since a transaction needs new pages
before it frees old ones, and since others write there too: the *guard*, `storage.free_bytes_min`.

Free for the store is what the disk has left, and the pages inside the file that can be used again: those that were
written once, so that they have their blocks. So what the file may take on this disk changes only when somebody else
writes there; it is read every second, and a commit says how much of it is used. A file system that compresses, or does
not say what a file takes, tells less than is used: all of that is on the disk, and none of it free.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path

from storage.frozen import frozen
from storage.lmdb_store.disk import growth_bytes
from storage.lmdb_store.environment import Store
from storage.lmdb_store.reserve import reserve_bytes

GUARD_BYTES_MAX = 2**30
GUARD_SHARE = 20
"""The guard where none is configured: this part of the file system, at most GUARD_BYTES_MAX."""

RETURN_SHARE = 8
"""Deliveries are taken again when this part more than what is kept is free, so that the answers do not flap; of what
is not kept, where that is less."""


@frozen
class Disk:
    """What a file system has, for this process. Infinite where it does not say."""

    total_bytes: float
    free_bytes: float


@frozen
class Share:
    """Of the map or the disk: its size, what of it is free for the store, and what of that is kept."""

    total_bytes: float
    free_bytes: float
    kept_bytes: float

    @property
    def is_short(self) -> bool:
        return self.free_bytes < self.kept_bytes

    @property
    def is_ample(self) -> bool:
        margin = min(self.kept_bytes, self.total_bytes - self.kept_bytes) // RETURN_SHARE
        return self.free_bytes >= self.kept_bytes + margin


def read_disk(path: Path) -> Disk:
    """Return what the file system of this path has. What is reserved for root is not free. Raises OSError."""
    found = os.statvfs(path)
    unit = found.f_frsize or found.f_bsize
    if not found.f_blocks:  # a tmpfs without a limit, and file systems that do not know
        return Disk(math.inf, math.inf)
    return Disk(found.f_blocks * unit, found.f_bavail * unit)


def guard_bytes(free_bytes_min: int, total_bytes: float) -> float:
    """Return what must stay free on a disk of this size; `free_bytes_min`: as configured, 0 for the default."""
    return free_bytes_min or min(GUARD_BYTES_MAX, total_bytes // GUARD_SHARE)


class Room:
    """The room of an open store. `look` is for any thread, the rest for one."""

    def __init__(
        self,
        store: Store,
        free_bytes_min: int = 0,
        read: Callable[[Path], Disk] = read_disk,
        *,
        map_size_bytes: int | None = None,
    ) -> None:
        """`map_size_bytes`: of the map that it will have, where the store is open for reading."""
        self._path = store.path
        self._map_bytes = map_size_bytes or store.map_size_bytes
        self._reserve_bytes = reserve_bytes(self._map_bytes)
        self._free_bytes_min = free_bytes_min
        self._read = read
        self._disk = Disk(math.inf, math.inf)
        """Of it, `free_bytes` with what the store's file has already."""
        self.used_bytes = store.used_bytes()
        """Of the pages that hold something."""
        self.is_full = False
        """Deliveries are refused: what is left is kept for all else."""
        self.saw(self.look())

    def look(self) -> Disk:
        """Return the disk as it is now, what the store's file has counting as free; as it was if it cannot be read."""
        file = self._path / "data.mdb"
        try:
            disk, found, growth = self._read(self._path), file.stat(), growth_bytes(file)
        except OSError:
            return self._disk
        has = max(found.st_blocks * 512, self.used_bytes)
        may_take = min(disk.free_bytes + has, growth + found.st_size)
        return Disk(min(disk.total_bytes, growth + found.st_size), may_take)

    def saw(self, disk: Disk) -> None:
        """Judge by the disk as `look` has found it; only this ends a shortage."""
        self._disk = disk
        self.is_full = self.is_short or (self.is_full and not (self.map.is_ample and self.disk.is_ample))

    def use(self, used_bytes: int) -> None:
        """Judge by what the store uses, as its last commit said."""
        self.used_bytes = used_bytes
        self.is_full = self.is_full or self.is_short

    @property
    def is_short(self) -> bool:
        return self.map.is_short or self.disk.is_short

    @property
    def bytes_left(self) -> float:
        """What deliveries may still take; less than 0 if what is kept has been touched."""
        return min(each.free_bytes - each.kept_bytes for each in (self.map, self.disk))

    @property
    def map(self) -> Share:
        return Share(self._map_bytes, self._map_bytes - self.used_bytes, self._reserve_bytes)

    @property
    def disk(self) -> Share:
        kept = guard_bytes(self._free_bytes_min, self._disk.total_bytes)
        return Share(self._disk.total_bytes, self._disk.free_bytes - self.used_bytes, kept)
