"""The file of an export: written under another name, and under its own once all of it is on the disk."""

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from server.base.json_text import json_text
from server.cli.exit_codes import ERROR, MISTAKE
from server.cli.failure import CommandFailed

STDOUT = Path("-")


class Stream(Protocol):
    """What the bytes of an export are written into."""

    def write(self, data: bytes) -> int: ...


class Hashed:
    """A stream that knows its size and its SHA-256."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def manifest_path(file: Path) -> Path:
    """Return where the manifest of an export is. Raises CommandFailed if the path names no file, as `.` or `/`."""
    if not file.name:
        raise CommandFailed(MISTAKE, f"{file} is a directory: name the file in it")
    return file.with_name(f"{file.name}.manifest.json")


def check_apart(file: Path, manifest: Path | None) -> None:
    """Raise CommandFailed if the manifest would be written over the events."""
    if manifest is None or file == STDOUT:
        return
    words = f"--manifest {manifest} is"
    if manifest.resolve() == file.resolve():
        raise CommandFailed(MISTAKE, f"{words} the file of the events: name another one")
    if manifest.resolve() == _before_its_name(file).resolve():
        where = "where the events are written before they have their name"
        raise CommandFailed(MISTAKE, f"{words} {where}: name another one")


def check_free(*files: Path) -> None:
    """Raise CommandFailed if one of these is there already: an export replaces nothing."""
    for file in files:
        if not file.parent.is_dir():
            raise CommandFailed(ERROR, f"there is no directory {file.parent} to make {file.name} in")
        if os.path.lexists(file):
            raise CommandFailed(ERROR, f"{file} is there already")


@contextmanager
def unfinished(file: Path) -> Iterator[IO[bytes]]:
    """Open a file, private, that has its name if the block ends, and is gone if it raises; `-` is stdout."""
    if file == STDOUT:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    other = _before_its_name(file)
    with _locked(other) as opened:
        try:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
            other.replace(file)
        except BaseException:  # an interrupt too leaves nothing behind, and goes on
            other.unlink(missing_ok=True)
            raise
    _flush_names(file.parent)


def _before_its_name(file: Path) -> Path:
    return file.with_name(f"{file.name}.unfinished")


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Open it, empty, for this process alone: what a killed one has left is written over."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandFailed(ERROR, f"another process writes {path}") from None
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
        yield file


def _flush_names(directory: Path) -> None:
    with suppress(OSError):  # one that may not be listed; the file itself is on the disk
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def write_manifest(file: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest under its own name at once, in the place of what is there."""
    with unfinished(file) as opened:
        opened.write(json_text(manifest, indent=True) + b"\n")
