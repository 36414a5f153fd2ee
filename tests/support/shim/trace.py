"""The records of a trace: what `shim.c` writes, and the marks that a client puts between them."""

import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HEAD = struct.Struct("@IiQqIIQ")

MARK = "K"


@dataclass(frozen=True, slots=True)
class Record:
    """One call, or one end of it. See `shim.c`."""

    kind: str
    """W write, T truncate, A allocate, B and S begin and end of a sync, E end of a write through O_DSYNC, C create,
    O an unnamed file, R rename, L link, U unlink, M mkdir, N rmdir, F what was made to fail, K a mark of a client."""
    error: int
    file: int
    """Its inode."""
    offset: int
    """In the file; of T and A, the size."""
    thread: int
    path: str
    other: str
    """The second path of a rename or a link."""
    data: bytes

    @property
    def mark(self) -> Any:
        """What the client said."""
        return json.loads(self.data)


def read_records(path: Path) -> list[Record]:
    """Return all records of a trace, in order."""
    return list(_records(path.read_bytes()))


def _records(content: bytes) -> Iterator[Record]:
    at = 0
    while at < len(content):
        kind, error, file, offset, thread, name_bytes, data_bytes = _HEAD.unpack_from(content, at)
        names = at + _HEAD.size
        data = names + name_bytes
        at = data + data_bytes
        path, _, other = content[names:data].decode().partition("\0")
        yield Record(chr(kind), error, file, offset, thread, path, other, content[data:at])


class Marker:
    """Appends to a trace, beside the processes that are recorded. For any thread."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def mark(self, **said: object) -> None:
        """Say what the client knows now: all that made it so is recorded before. The first mark begins the trace: what
        stands before it is what was there."""
        self._add(MARK, data=json.dumps(said).encode())

    def add_files(self, directory: Path) -> None:
        """Record this directory, with all in it, as made and flushed."""
        self._add("M", path=directory)
        for path in sorted(directory.iterdir()):
            if path.is_dir():
                self.add_files(path)
                continue
            number = path.stat().st_ino
            self._add("C", path=path, file=number)
            self._add("W", path=path, file=number, data=path.read_bytes())
            self._synced(path, number)
        self._synced(directory, 0)
        self._synced(directory.parent, 0)

    def close(self) -> None:
        os.close(self._file)

    def _synced(self, path: Path, file: int) -> None:
        for kind in "BS":
            self._add(kind, path=path, file=file)

    def _add(self, kind: str, *, path: Path | str = "", file: int = 0, data: bytes = b"") -> None:
        name = str(path).encode()
        os.write(self._file, _HEAD.pack(ord(kind), 0, file, 0, 0, len(name), len(data)) + name + data)


def counted(records: list[Record], directory: Path) -> Mapping[tuple[str, str], int]:
    """Return how many calls of each kind (as SHIM_FAULTS names them) each file in this directory got."""
    kinds = {"W": "W", "T": "W", "A": "W", "B": "S", "C": "N", "R": "N", "L": "N", "U": "N", "M": "N", "N": "N"}
    found: dict[tuple[str, str], int] = {}
    for each in records:
        path = each.other or each.path
        if each.kind in kinds and f"{path}/".startswith(f"{directory}/"):
            name = path.rpartition("/")[2]
            key = kinds[each.kind], "#" if name.startswith("#") else name
            found[key] = found.get(key, 0) + 1
    return found
