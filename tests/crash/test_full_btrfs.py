"""A full file system that never writes in place: no write has room of its own, and LMDB stores into its lock file."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.check.verify import verify

ROOT = Path(__file__).parents[2]
IMAGE_BYTES = 128 * 2**20
"""Little more than the least that mkfs.btrfs takes."""

FILL = """
import os, sys
from pathlib import Path
from storage.errors import StoreFull
from storage.model import Group
from tests.support.store import numbered, opened
directory = Path(sys.argv[1])
with opened(directory / "store") as (store, writer):
    writer.write(Group([numbered(1, 1)]))
    os.sync()
    with open(directory / "filler", "wb") as filler:
        try:
            while filler.write(os.urandom(2**16)):
                os.fsync(filler.fileno())
        except OSError:
            pass
    refused = 0
    for _ in range(20):
        os.sync()
        try:
            writer.write(Group([numbered(writer.next_number, 1)]))
        except StoreFull:
            refused += 1
    (directory / "filler").unlink()
    os.sync()
    writer.write(Group([numbered(writer.next_number, 1)]))
    print(refused, writer.next_number - 1)
"""


pytestmark = pytest.mark.xdist_group("bench")  # of all tests that use apt, which serves one at a time


def has_mkfs() -> bool:
    """Return whether there is mkfs.btrfs, installed if it is missing and this user may."""
    if shutil.which("mkfs.btrfs") is None and shutil.which("apt-get") and os.geteuid() == 0:
        install = ["apt-get", "install", "--yes", "--no-install-recommends", "btrfs-progs"]
        for command in (["apt-get", "update"], install):
            subprocess.run(command, capture_output=True, check=False)
    return shutil.which("mkfs.btrfs") is not None


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    """A small btrfs; the test is skipped where none can be made and mounted."""
    image, directory = tmp_path / "image", tmp_path / "mounted"
    directory.mkdir()
    image.touch()
    os.truncate(image, IMAGE_BYTES)
    if not has_mkfs() or not all(
        subprocess.run(command, capture_output=True, check=False).returncode == 0
        for command in (["mkfs.btrfs", "-q", str(image)], ["mount", "-o", "loop", str(image), str(directory)])
    ):
        pytest.skip("takes mkfs.btrfs and loop devices")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_full_btrfs_is_a_full_store(btrfs: Path) -> None:
    """A full btrfs is StoreFull, not the end by SIGBUS; with room again writing goes on."""
    done = subprocess.run([sys.executable, "-c", FILL, btrfs], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    refused, events = map(int, done.stdout.split())
    assert refused > 0
    assert (verify(btrfs / "store").problems, events) == ([], 22 - refused)
