"""storage/lmdb_store/room.py: what is free for a store, what of that is kept, and when deliveries find no room."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage.lmdb_store.environment import Store
from storage.lmdb_store.room import Disk, Room, guard_bytes, read_disk
from storage.model import Group
from tests.support.store import numbered, opened

MIB = 2**20
GIB = 2**30


@contextmanager
def in_room(path: Path, free_bytes_min: int, disk: Callable[[], Disk]) -> Iterator[tuple[Room, Store]]:
    with opened(path) as (store, _):
        yield Room(store, free_bytes_min, lambda _: disk()), store


@pytest.mark.parametrize(
    ("configured", "total", "guard"),
    [
        (0, 100 * GIB, GIB),
        (0, 10 * GIB, GIB // 2),
        (0, 64 * MIB, 64 * MIB // 20),
        (0, math.inf, GIB),
        (7, 100 * GIB, 7),
    ],
)
def test_the_guard_fits_the_file_system(configured: int, total: float, guard: int) -> None:
    """By default 5 % of the file system stay free, at most 1 GiB; what is configured counts as it is."""
    assert guard_bytes(configured, total) == guard


@pytest.mark.parametrize(
    ("found", "disk"),
    [
        ({"f_blocks": 1000, "f_bfree": 500, "f_bavail": 400, "f_frsize": 4096, "f_bsize": 2**20}, (1000, 400, 4096)),
        ({"f_blocks": 1000, "f_bfree": 500, "f_bavail": 0, "f_frsize": 512, "f_bsize": 4096}, (1000, 0, 512)),
        ({"f_blocks": 1000, "f_bfree": 500, "f_bavail": 400, "f_frsize": 0, "f_bsize": 4096}, (1000, 400, 4096)),
    ],
    ids=["reserved for root", "all of it reserved", "no unit"],
)
def test_what_a_file_system_says(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, int], disk: tuple[int, int, int]
) -> None:
    """What is reserved for root is not free; the unit is that of the blocks."""
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(**found))
    total, free, unit = disk
    assert read_disk(Path()) == Disk(total * unit, free * unit)


def test_a_file_system_without_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not say how large the disk is, nothing is refused because of it."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda path: SimpleNamespace(f_blocks=0, f_bavail=0, f_frsize=1, f_bsize=1))
        disk = read_disk(Path())
    with in_room(tmp_path / "store", 0, lambda: disk) as (room, _):
        assert not room.is_full


def test_a_disk_that_others_fill(tmp_path: Path) -> None:
    """It is full when less is free than is kept; it is taken for free again with an eighth more, not before."""
    disk = Disk(GIB, 100 * MIB)
    with in_room(tmp_path / "store", 50 * MIB, lambda: disk) as (room, _):
        assert not room.is_full
        for free_mib, is_full in ((49, True), (51, True), (56, True), (57, False), (51, False), (49, True)):
            disk = Disk(GIB, free_mib * MIB)
            room.saw(room.look())
            assert room.is_full is is_full, free_mib


def test_a_guard_of_nearly_all_can_end(tmp_path: Path) -> None:
    """Where nearly the whole disk is to stay free, what may be used decides how much more ends a shortage."""
    disk = Disk(128 * MIB, 119 * MIB)
    with in_room(tmp_path / "store", 120 * MIB, lambda: disk) as (room, _):
        assert room.is_full
        disk = Disk(128 * MIB, 122 * MIB)
        room.saw(room.look())
        assert not room.is_full


def test_a_disk_that_the_store_fills(tmp_path: Path) -> None:
    """What a commit uses is taken off at once, without a look; a shortage ends with a look alone."""
    with in_room(tmp_path / "store", 50 * MIB, lambda: Disk(GIB, 60 * MIB)) as (room, store):
        used = store.used_bytes()
        may_take = room.disk.free_bytes + used
        room.use(int(may_take - 50 * MIB))
        assert not room.is_full
        room.use(int(may_take - 50 * MIB + 1))
        assert room.is_full
        room.use(used)
        assert room.is_full
        room.saw(room.look())
        assert not room.is_full


def test_pages_of_the_file_count_as_free(tmp_path: Path) -> None:
    """What the file has on the disk and does not use is room: a store that has let go of much is not full."""
    with opened(tmp_path / "store") as (store, writer):
        for _ in range(4):
            writer.write(Group([numbered(writer.next_number, 1, body=os.urandom(MIB))]))
        room = Room(store, MIB, lambda _: Disk(GIB, 0))
        assert room.is_full
        with store.write_transaction() as txn:
            txn.drop(store.bodies, delete=False)
        room.use(store.used_bytes())
        room.saw(room.look())
        assert not room.is_full
        assert room.disk.free_bytes > 3 * MIB


@pytest.mark.parametrize("share", [0, 2], ids=["it does not say", "compressed"])
def test_a_file_that_takes_less_than_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: int) -> None:
    """Where the blocks of the file are fewer than its pages, what the disk has free is free, and no less."""
    look = Path.stat

    def fewer_blocks(path: Path, **options: bool) -> os.stat_result | SimpleNamespace:
        found = look(path, **options)
        if path.name != "data.mdb":
            return found
        return SimpleNamespace(st_blocks=found.st_blocks // share if share else 0, st_size=found.st_size)

    with opened(tmp_path / "store") as (store, writer):
        for _ in range(4):
            writer.write(Group([numbered(writer.next_number, 1, body=os.urandom(MIB))]))
        with monkeypatch.context() as patched:
            patched.setattr(Path, "stat", fewer_blocks)
            room = Room(store, MIB, lambda _: Disk(GIB, 2 * MIB))
        assert not room.is_full
        room.use(store.used_bytes() + MIB + 1)
        assert room.is_full


def test_the_map_keeps_its_reserve(tmp_path: Path) -> None:
    """A map with less left than its reserve is full, whatever the disk has."""
    with in_room(tmp_path / "store", 0, lambda: Disk(math.inf, math.inf)) as (room, store):
        room.use(store.map_size_bytes - store.reserve_bytes)
        assert not room.is_full
        room.use(store.map_size_bytes - store.reserve_bytes + 1)
        assert room.is_full


def test_a_disk_that_cannot_be_read(tmp_path: Path) -> None:
    """Its last figures stay in force."""
    disks = [Disk(GIB, 0)]
    with in_room(tmp_path / "store", MIB, disks.pop) as (room, _):

        def failing(path: Path) -> Disk:
            raise OSError("gone")

        room._read = failing
        room.saw(room.look())
        assert room.is_full
