"""The encoding of the journal: its records, written in sequence, and read as far as they belong to one run.

A record: CRC-32 of what follows, length, identity of the store, identity of the writer's run, first number, the number
after its last; then, for each append, the number of its deliveries, of its admitted events, the status of the rest, and
the store's time of its receipt; then, for each log record, the lengths of its facts and bodies, and these.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import zstandard

from storage.codec.log_record import decode_log, encode_log, split_log
from storage.codec.records import IDENTITY_BYTES, key_of
from storage.deliveries import NumberedDeliveries
from storage.errors import StoreDamaged, StoreError
from storage.frozen import frozen
from storage.model import Append
from storage.statuses import EventStatus

JOURNAL_BYTES = 4 * 2**20
"""The size of the file."""

_HEAD = struct.Struct(f"<II{IDENTITY_BYTES}s{IDENTITY_BYTES}sQQ")
_COUNT = struct.Struct("<I")
_APPEND = struct.Struct("<IIBQ")
_RECORD = struct.Struct("<II")

NO_RECORD = bytes(_HEAD.size)
"""A head that ends the journal: it is not a valid record."""


@frozen
class Journaled:
    """One record of the journal."""

    at: int
    """Its offset in the file, in bytes."""
    store: bytes
    run: bytes
    first: int
    end: int
    """The number after its last event."""
    payload: bytes

    def appends(self) -> list[Append]:
        """Decode and return what was appended. Raises StoreDamaged if it does not decode."""
        try:
            return self._decoded()
        except (struct.error, StopIteration, ValueError, LookupError) as error:
            raise StoreDamaged(f"the journal's record at {self.at} does not decode: {error}") from error

    def _decoded(self) -> list[Append]:
        (count,) = _COUNT.unpack_from(self.payload)
        at = _COUNT.size + count * _APPEND.size
        entries = _APPEND.iter_unpack(self.payload[_COUNT.size : at])
        found: list[Append] = []
        for numbered in self._log_records(at):
            place, places = 0, len(numbered.deliveries.bodies)
            while place < places:
                requests, admitted, rest, store_ms = next(entries)
                part = numbered.part(place, place + requests)
                found.append(Append(part, admitted, EventStatus(rest), store_ms))
                place += requests
        if len(found) != count:
            raise ValueError("it has fewer deliveries than appends")
        return found

    def _log_records(self, at: int) -> Iterator[NumberedDeliveries]:
        first = self.first
        decompressor = zstandard.ZstdDecompressor()
        while at < len(self.payload):
            sizes = _RECORD.unpack_from(self.payload, at)
            at += _RECORD.size
            facts, bodies = self.payload[at : at + sizes[0]], self.payload[at + sizes[0] : at + sum(sizes)]
            numbered = decode_log(key_of(first), facts, bodies or None, decompressor)
            yield numbered
            first = numbered.end
            at += sum(sizes)


def encode(appends: Sequence[Append], store: bytes, run: bytes, compressor: zstandard.ZstdCompressor) -> bytes:
    """Return one record of deliveries with consecutive numbers."""
    parts = [_COUNT.pack(len(appends))]
    parts += [
        _APPEND.pack(len(each.numbered.deliveries.bodies), each.admitted, each.rest, each.store_ms) for each in appends
    ]
    for numbered in split_log([append.numbered for append in appends]):
        facts, bodies = encode_log(numbered, compressor)
        bodies = bodies or b""
        parts += _RECORD.pack(len(facts), len(bodies)), facts, bodies
    payload = b"".join(parts)
    head = _HEAD.pack(0, len(payload), store, run, appends[0].numbered.first, appends[-1].numbered.end)
    rest = head[_COUNT.size :] + payload
    return _COUNT.pack(zlib.crc32(rest)) + rest


class HasJournal(Protocol):
    """A store, or what else has a journal."""

    path: Path
    identity: bytes


def read_journal(store: HasJournal, number: int) -> Iterator[Journaled]:
    """Yield the records with events from `number` on, the store's next one; none if there is no journal.

    Its records are of one run, and their numbers rise; a record that breaks this is left over from before and ends it.
    A damaged record is skipped if one that the store lacks follows, so that the gap shows. May be read while another
    process writes: everything acknowledged before is found. Raises StoreError; StoreDamaged if the journal belongs to
    another store.
    """
    try:
        data = _read(store.path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"the journal cannot be read: {error}") from error
    at, run, end = 0, None, 0
    while True:
        found = _record_at(data, at, run, end) or _record_at(data, _end_of_record(data, at), run, max(end, number))
        if found is None:
            return
        if found.store != store.identity:
            raise StoreDamaged("the journal belongs to another store: put the right one there, or move it away")
        if found.first >= number:
            yield found
        at, run, end = _end_of_record(data, found.at), found.run, found.end


def open_file(directory: Path, flags: int) -> int:
    """Open the journal's file; return its descriptor. Raises OSError, also if it is not a regular file."""
    opened = os.open(directory / "journal", flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(f"{directory / 'journal'} is not a regular file")
    return opened


def _read(directory: Path) -> bytes:
    with os.fdopen(open_file(directory, os.O_RDONLY), "rb") as file:
        return file.read(JOURNAL_BYTES)


def _record_at(data: bytes, at: int, run: bytes | None, number: int) -> Journaled | None:
    """Return the complete record at this offset; None unless it is of this run and starts at `number` or later."""
    to = _end_of_record(data, at)
    if to > len(data):
        return None
    crc, _, store, own_run, first, end = _HEAD.unpack_from(data, at)
    if not number <= first < end or own_run != (run or own_run) or zlib.crc32(data[at + _COUNT.size : to]) != crc:
        return None
    return Journaled(at, store, own_run, first, end, data[at + _HEAD.size : to])


def _end_of_record(data: bytes, at: int) -> int:
    """Return where a record at this offset ends; beyond the data if no record fits there."""
    if at + _HEAD.size > len(data):
        return len(data) + 1
    _, length, *_ = _HEAD.unpack_from(data, at)
    return at + _HEAD.size + int(length)
