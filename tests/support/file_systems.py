"""Small file systems of their own, in images on loop devices: made, mounted, filled, taken away. Takes root."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.debian import install

CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One to be made: how, and how large."""

    type: str
    image_bytes: int
    make: Sequence[str] = ()
    """The command that makes it in an image."""
    options: str = ""


class NotHere(Exception):
    """This host cannot do it; the words say why."""


TMPFS = FileSystem("tmpfs", 32 * 2**20, options="size=32m")
EXT4 = FileSystem("ext4", 40 * 2**20, ("mkfs.ext4", "-q", "-F"))
FEW_INODES = FileSystem("ext4", 64 * 2**20, ("mkfs.ext4", "-q", "-F", "-N", "32"))
XFS = FileSystem("xfs", 320 * 2**20, ("mkfs.xfs", "-q"))
BTRFS = FileSystem("btrfs", 128 * 2**20, ("mkfs.btrfs", "-q"))
"""Each little more than the least that its mkfs takes."""

PACKAGES: Mapping[str, str] = {"mkfs.xfs": "xfsprogs", "mkfs.btrfs": "btrfs-progs"}
"""Debian's, of what not every host has."""


@contextmanager
def mounted(kind: FileSystem, directory: Path) -> Iterator[Path]:
    """Make it, and mount it below this directory until the end of the block. Raises NotHere."""
    at = directory / "disk"
    at.mkdir()
    device = "tmpfs" if kind.type == "tmpfs" else str(_image(kind, directory))
    mount(kind, device, at)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], capture_output=True, check=False)


def mount(kind: FileSystem, device: str, at: Path) -> None:
    """Mount a device, or an image. Raises NotHere."""
    options = ",".join(filter(None, ["" if device == "tmpfs" else "loop", kind.options])) or "defaults"
    _run("mount", "-t", kind.type, "-o", options, device, str(at))


def stop_writes(at: Path) -> None:
    """Have the kernel take no more writes, as an ext4 does by itself when its device fails."""
    subprocess.run(["mount", "-o", "remount,abort", at], capture_output=True, check=False)


def mount_again(kind: FileSystem, at: Path) -> None:
    """Take it away, and mount the same image anew; nobody may use it. Raises NotHere."""
    _run("umount", str(at))
    mount(kind, str(at.parent / "image"), at)


def _image(kind: FileSystem, directory: Path) -> Path:
    image = directory / "image"
    image.touch()
    os.truncate(image, kind.image_bytes)
    _bring(kind.make[0])
    _run(*kind.make, str(image))
    return image


def _bring(command: str) -> None:
    """Install what makes a file system, if it is missing and this user may."""
    if shutil.which(command) is None and shutil.which("apt-get") and os.geteuid() == 0 and command in PACKAGES:
        install(PACKAGES[command])


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotHere(f"takes {command[0]}") from error
    if done.returncode:
        raise NotHere(f"takes {command[0]}, root and loop devices: {done.stderr.strip()}")


def leave(directory: Path, size: int) -> None:
    """Take all of the disk but so many bytes."""
    found = os.statvfs(directory)
    with (directory / "taken").open("wb") as file:
        if (taken := found.f_bavail * found.f_frsize - size) > 0:
            os.posix_fallocate(file.fileno(), 0, taken)


def ballast(directory: Path, size: int) -> Path:
    """Make a file that takes so many bytes, to be deleted when room is wanted."""
    path = directory / "ballast"
    with path.open("wb") as file:
        for _ in range(size // CHUNK_BYTES):
            file.write(os.urandom(CHUNK_BYTES))
        os.fsync(file.fileno())
    return path


def use_up(directory: Path) -> None:
    """Write into a file until there is no room for another byte."""
    with suppress(OSError), (directory / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(os.urandom(CHUNK_BYTES // 16))
            os.fsync(file.fileno())


def use_up_names(directory: Path) -> list[Path]:
    """Make empty files until no other can be made; return them."""
    made: list[Path] = []
    with suppress(OSError):
        while True:
            path = directory / f"name-{len(made)}"
            path.touch(exist_ok=False)
            made.append(path)
    return made
