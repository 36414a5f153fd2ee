"""The journal: deliveries that are on disk before they are in the store, so that a few need not wait for a transaction.

A file of fixed size beside the store, written from its start whenever everything in it is in the store. Its blocks are
written when it is made, so that adding to it changes data alone and costs one `fdatasync`. What a delivery says here is
what it will say in the log; whoever opens the store to write puts what is missing there first (`Writer`).

A record: CRC-32 of what follows, length, first number, the number after its last; then for each append how many
deliveries it holds, how many events are admitted and the fate of the rest; then `log` records. Numbers rise from record
to record: where one is damaged or does not rise, the journal ends; what stands behind is from before.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import zstandard

from storage.errors import StoreError
from storage.log_record import COMPRESSION_LEVEL, decode_log, decode_log_head, encode_log, split_log
from storage.model import Append, Fate, Singles
from storage.record import record
from storage.records import key_of

JOURNAL_BYTES = 4 * 2**20
"""What may be acknowledged and not in the store: some seconds of everyday load, should a transaction take so long."""

JOURNAL_DELIVERIES_BYTES_MAX = 64 * 1024
"""Bodies in one record. Where there is more, a transaction takes hardly longer, and to write all twice costs more."""

_NAME = "journal"
_HEAD = struct.Struct("<IIQQ")
_COUNT = struct.Struct("<I")
_APPEND = struct.Struct("<IIB")
_EMPTY = bytes(_HEAD.size)


@record
class Journaled:
    """One record."""

    first: int
    end: int
    """The number after its last event."""
    payload: bytes

    def appends(self) -> list[Append]:
        """What was appended. Deliveries that came together are by themselves now."""
        (count,) = _COUNT.unpack_from(self.payload)
        entries = list(_APPEND.iter_unpack(self.payload[_COUNT.size : _COUNT.size + count * _APPEND.size]))
        at, first, deliveries = _COUNT.size + count * _APPEND.size, self.first, []
        decompressor = zstandard.ZstdDecompressor()
        while at < len(self.payload):
            (length,) = _COUNT.unpack_from(self.payload, at)
            at += _COUNT.size
            key, value = key_of(first), self.payload[at : at + length]
            deliveries += decode_log(key, value, decompressor)
            first = decode_log_head(key, value).end
            at += length
        found = iter(deliveries)
        return [
            Append(next(found), admitted if holds == 1 else 1, Fate(rest))
            for holds, admitted, rest in entries
            for _ in range(holds)
        ]


class Journal:
    """The journal of a store that is open to be written. `append` on one thread; never two calls at once."""

    def __init__(self, directory: Path, bytes_max: int = JOURNAL_BYTES) -> None:
        """Makes it empty: what was in it must be in the store. Where that fails there is none, and `error` says why."""
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._bytes_max = min(bytes_max, JOURNAL_BYTES)
        self._at = 0
        self._file = -1
        self.error: OSError | None = None
        """Why nothing is taken any more until the store is opened again."""
        try:
            self._file = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _allocate(self._file, self._bytes_max)
            _keep_name(directory)
        except OSError as error:
            self.error = error

    def has_room(self, count: int) -> bool:
        """Whether so many bytes of bodies may be appended; what else a record needs is found out then."""
        return self.error is None and count <= JOURNAL_DELIVERIES_BYTES_MAX and self._at + count <= self._bytes_max

    def append(self, appends: Sequence[Append]) -> bool:
        """When this returns True these deliveries, whose numbers follow one another, are on disk; else nothing is."""
        encoded = _encode(appends, self._compressor)
        if self.error is not None or self._at + len(encoded) > self._bytes_max:
            return False
        try:
            _write(self._file, encoded, self._at)
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError):
                _write(self._file, _EMPTY, self._at)
            return False
        self._at += len(encoded)
        return True

    def rewind(self) -> None:
        """Everything in it is in the store."""
        self._at = 0

    def close(self) -> None:
        """No call may be under way. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_journal(directory: Path) -> Iterator[Journaled]:
    """Its records, as far as it goes; nothing where there is none. Raises StoreError."""
    try:
        with (directory / _NAME).open("rb") as file:
            found = file.read(JOURNAL_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"the journal cannot be read: {error}") from error
    at = end_before = 0
    while at + _HEAD.size <= len(found):
        crc, length, first, end = _HEAD.unpack_from(found, at)
        to = at + _HEAD.size + length
        if not end_before <= first < end or to > len(found) or zlib.crc32(found[at + _COUNT.size : to]) != crc:
            return
        yield Journaled(first, end, found[at + _HEAD.size : to])
        at, end_before = to, end


def _encode(appends: Sequence[Append], compressor: zstandard.ZstdCompressor) -> bytes:
    parts = [_COUNT.pack(len(appends))]
    for append in appends:
        holds = append.stored.count if isinstance(append.stored, Singles) else 1
        parts.append(_APPEND.pack(holds, append.admitted, append.rest))
    for run in split_log([append.stored for append in appends]):
        value = encode_log(run, compressor)
        parts += _COUNT.pack(len(value)), value
    payload = b"".join(parts)
    last = appends[-1].stored
    rest = _HEAD.pack(0, len(payload), appends[0].stored.first, last.first + last.count)[_COUNT.size :] + payload
    return _COUNT.pack(zlib.crc32(rest)) + rest


def _write(file: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written
    os.fdatasync(file)


def _keep_name(directory: Path) -> None:
    """The file is found after a power cut."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _allocate(file: int, size: int) -> None:
    """Empty, and with all its blocks written."""
    if os.fstat(file).st_size != size:
        os.ftruncate(file, 0)
        _write(file, bytes(size), 0)
        os.fsync(file)
    else:
        _write(file, _EMPTY, 0)
