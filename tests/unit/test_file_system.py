"""The file system under a store: its name by the mounts, and that lock.mdb is written in place on btrfs."""

import fcntl
import os
import struct
from pathlib import Path

import pytest

from storage.lmdb_store import disk, file_system
from storage.lmdb_store.file_system import name_of

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /srv rw,relatime - btrfs /dev/sdb rw,subvol=/
31 30 0:26 / /srv/a\\040share rw,relatime shared:7 master:2 - fuse.sshfs host:/ rw
32 30 0:27 / /srv/data rw,relatime - tmpfs none rw
33 32 0:28 / /srv/data rw,relatime - 9p host rw
"""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/etc", "ext4"),
        ("/srv", "btrfs"),
        ("/srv/database", "btrfs"),
        ("/srv/a share/store", "fuse.sshfs"),
        ("/srv/data/store", "9p"),
    ],
)
def test_the_deepest_and_last_mount_names_it(tmp_path: Path, path: str, name: str) -> None:
    """Of the mounts above a path the deepest one holds it, and of several at one place the last."""
    (tmp_path / "mounts").write_text(MOUNTS)
    assert name_of(Path(path), tmp_path / "mounts") == name


def test_without_mounts_it_has_no_name(tmp_path: Path) -> None:
    """Where the kernel does not tell, the name is empty."""
    assert name_of(tmp_path, tmp_path / "none") == ""


@pytest.mark.parametrize("before", [0, disk.LOCK_FILE_BYTES])
def test_a_lock_file_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    """On btrfs lock.mdb gets the flag while it is empty, then its room; one that has it keeps its content."""
    flags = [0x00000010]
    seen: list[int] = []

    def ioctl(file: int, request: int, argument: bytes) -> bytes:
        if request >> 30 == 2:
            return struct.pack("@l", flags[0])
        seen.append(os.fstat(file).st_size)
        (flags[0],) = struct.unpack("@l", argument)
        return argument

    monkeypatch.setattr(file_system, "name_of", lambda path: "btrfs")
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    (tmp_path / "lock.mdb").write_bytes(b"x" * before)
    disk.allocate_lock_file(tmp_path)
    assert (seen, flags) == ([0], [0x00800010])
    (tmp_path / "lock.mdb").write_bytes(b"x" * disk.LOCK_FILE_BYTES)
    disk.allocate_lock_file(tmp_path)
    assert (tmp_path / "lock.mdb").read_bytes() == b"x" * disk.LOCK_FILE_BYTES
