"""The file of an export: written under another name, and under its own once all of it is on the disk."""

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from server.base.json_text import json_text
from server.cli.exit_codes import ERROR, MISTAKE
from server.cli.failure import CommandFailed

STDOUT = Path("-")

_TRIES = 20
"""Each that fails is another process that has ended meanwhile."""


class Stream(Protocol):
    """What the bytes of an export are written into."""

    def write(self, data: bytes) -> int: ...

    def isatty(self) -> bool: ...


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

    def isatty(self) -> bool:
        return self._file.isatty()

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
def unfinished(file: Path, replaced: os.stat_result | None = None) -> Iterator[IO[bytes]]:
    """Open a file, private, that has its name if the block ends, and is gone if it raises; `-` is stdout.

    Raises CommandFailed if something else than what is `replaced` has the name by then.
    """
    if file == STDOUT:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    other = _before_its_name(file)
    with _locked(other) as opened:
        try:
            _check_name(file, replaced)  # another process may have ended meanwhile
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
            _name(opened.fileno(), other, file, replaced)
        except BaseException:  # an interrupt too leaves nothing behind, and goes on
            for each in (file, other):
                _remove(each, os.fstat(opened.fileno()))
            raise
    _flush_names(file.parent)


def _before_its_name(file: Path) -> Path:
    return file.with_name(f"{file.name}.unfinished")


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Open it, empty, for this process alone: what a killed one has left is written over."""
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break
            found = os.fstat(descriptor)
            if not _is_at(path, found):  # another process has given it its name between these steps
                continue
            if found.st_nlink > 1:  # one was killed when it had both names: it is whole, and stays so
                path.unlink()
                continue
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            yield file
            return
    raise CommandFailed(ERROR, f"another process writes {path}")


def _name(descriptor: int, other: Path, file: Path, replaced: os.stat_result | None) -> None:
    """Give what is open, and is at `other`, the name `file`."""
    try:
        os.link(other, file)  # where a rename replaces, this fails
    except OSError:  # there is something, or the file system has no links; over NFS one that was made may fail too
        if not _is_at(file, os.fstat(descriptor)):
            _check_name(file, replaced)
            other.replace(file)
            return
    other.unlink()


def _check_name(file: Path, replaced: os.stat_result | None) -> None:
    if os.path.lexists(file) and (replaced is None or not _is_at(file, replaced)):
        raise CommandFailed(ERROR, f"{file} came while the export was made, and stays as it is: name another file")


def _remove(path: Path, own: os.stat_result) -> None:
    """Remove what is there, if it is this file and no other."""
    if _is_at(path, own):
        path.unlink()


def _is_at(path: Path, file: os.stat_result) -> bool:
    found = _found(path)
    return found is not None and os.path.samestat(found, file)


def _found(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _flush_names(directory: Path) -> None:
    with suppress(OSError):  # one that may not be listed; the file itself is on the disk
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


@contextmanager
def manifest_of(file: Path, path: Path | None, *, is_named: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield what writes the manifest of this export, if it has a file, under its own name at once; it is gone again if
    the block raises. One that nobody named takes the place of what an export that is gone has left."""
    replaced = None if path is None or is_named else _found(path)
    written: os.stat_result | None = None

    def write(manifest: dict[str, Any]) -> None:
        nonlocal written
        if path is None:
            return
        if file != STDOUT:
            _check_name(file, None)
        with unfinished(path, replaced) as opened:
            opened.write(json_text(manifest, indent=True) + b"\n")
            if path != STDOUT:
                written = os.fstat(opened.fileno())

    try:
        yield write
    except BaseException:  # Ctrl-C too leaves no manifest of an export that is not there
        if path is not None and written is not None:
            _remove(path, written)
        raise
