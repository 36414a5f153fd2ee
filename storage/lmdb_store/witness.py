"""The witness: what is on the disk for certain, said in another file, so that a lost end is not taken for the end.

The pages of LMDB that name the last transaction have no checksum, so a damaged one may name the transaction before; and
a damaged record at the end of the journal looks like one that was never finished. Either would leave a store that is
whole in itself, and lacks what was acknowledged last.

So `writer.lock` says, behind its line, how far the store was after its last commit, and how far the journal. Each is
written once that is on the disk, by one `pwrite` of a few microseconds, and is never flushed: a power cut leaves an
older word, which says less. What is there may be more than its witness says; if it is less, something is missing. A
word that cannot be written, or whose checksum is wrong, says nothing.
"""

import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from storage import sync
from storage.codec.records import IDENTITY_BYTES

_CRC = struct.Struct("<I")
_STORED = struct.Struct(f"<{IDENTITY_BYTES}sQQQ")
_ACKNOWLEDGED = struct.Struct(f"<{IDENTITY_BYTES}sQ")
_STORED_AT, _ACKNOWLEDGED_AT = 64, 128
"""Behind the line, and within one page: a killed process leaves each as it was, or as it is to be."""

WAY_OUT = (
    "put back the files that belong together; to go on without what is missing, move `journal` and `writer.lock` away"
)


class Reached(NamedTuple):
    """How far a store is. Nothing of it ever falls, and each commit raises something of it."""

    end: int
    """The number after the last event."""
    store_ms: int
    """The store's time."""
    counts: int
    """The sum of all counters that only grow."""


NOTHING = Reached(0, 0, 0)


class Known(NamedTuple):
    """What the witness says of a store."""

    stored: Reached
    acknowledged_end: int
    """The number after the last event that the journal has, or had."""

    def missing_from(self, found: Reached) -> str:
        """Return what is missing from a store that is this far, in words; empty if nothing is."""
        if any(there < said for there, said in zip(found, self.stored, strict=True)):
            return f"data.mdb is older than what was written last, which had {_more(self.stored, found)}: {WAY_OUT}"
        return ""

    def unrecovered(self, end: int) -> str:
        """Return, in words, what was acknowledged behind the end of a store that took in its journal; empty if nothing
        was."""
        if end < self.acknowledged_end:
            missing = _events(end, self.acknowledged_end)
            return f"neither data.mdb nor the journal has {missing}, which had been acknowledged: {WAY_OUT}"
        return ""


def _more(said: Reached, found: Reached) -> str:
    return _events(found.end, said.end) if said.end > found.end else "outcomes or attempts that are not in it"


def _events(first: int, end: int) -> str:
    return f"the event {first}" if end == first + 1 else f"the events {first} to {end - 1}"


class Witness:
    """Writes what is known of a store that is open for writing; `file` is its locked `writer.lock`."""

    def __init__(self, file: int, identity: bytes) -> None:
        self._file = file
        self._identity = identity

    def stored(self, reached: Reached) -> None:
        """Record how far the store is; call when that is committed."""
        self._write(_STORED.pack(self._identity, *reached), _STORED_AT)

    def acknowledged(self, end: int) -> None:
        """Record how far the journal is; call when that is flushed. `end`: the number after its last event."""
        self._write(_ACKNOWLEDGED.pack(self._identity, end), _ACKNOWLEDGED_AT)

    def _write(self, content: bytes, at: int) -> None:
        with suppress(OSError):
            sync.write_at(self._file, _CRC.pack(zlib.crc32(content)) + content, at)


def known(path: Path, identity: bytes) -> Known:
    """Return what is known of the store with this identity in the directory `path`."""
    try:
        content = (path / "writer.lock").read_bytes()
    except OSError:
        content = b""
    stored = _read(content, _STORED, _STORED_AT, identity)
    acknowledged = _read(content, _ACKNOWLEDGED, _ACKNOWLEDGED_AT, identity)
    return Known(Reached(*stored) if stored else NOTHING, acknowledged[0] if acknowledged else 0)


def _read(content: bytes, layout: struct.Struct, at: int, identity: bytes) -> tuple[int, ...]:
    sealed = content[at : at + _CRC.size + layout.size]
    said = sealed[_CRC.size :]
    if len(said) != layout.size or sealed[: _CRC.size] != _CRC.pack(zlib.crc32(said)):
        return ()
    whose, *numbers = layout.unpack(said)
    return tuple(numbers) if whose == identity else ()
