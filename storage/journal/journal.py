"""The journal: deliveries that are on disk before they are in the store, so that a few need not wait for a transaction.

A file of fixed size beside the store, written from its start whenever everything in it is in the store. Its blocks are
written when it is made, so that adding to it changes data alone and costs one `fdatasync`. What a delivery says here is
what it will say in the log; whoever opens the store to write puts what is missing there first (`Writer`).
"""

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import zstandard

from storage.codec.log_record import COMPRESSION_LEVEL
from storage.codec.records import IDENTITY_BYTES
from storage.journal.records import JOURNAL_BYTES, NO_RECORD, encode, open_file
from storage.lmdb_store.environment import Store
from storage.model import Append

JOURNAL_DELIVERIES_BYTES_MAX = 64 * 1024
"""Bodies in one record. Where there is more, a transaction takes hardly longer, and to write all twice costs more."""

EVENT_BYTES = 256
"""What an event counts for beside its body: it takes memory until it is in the store, and room there."""

RESERVE_SHARE = 4
"""What may be acknowledged and not in the store is at most this part of the store's reserve: it always finds room."""


class Journal:
    """The journal of a store that is open to be written. `append` on one thread; never two calls at once."""

    def __init__(self, store: Store) -> None:
        """Makes it empty: what was in it must be in the store. Where that fails there is none, and `error` says why."""
        self._store = store.identity
        self._run = secrets.token_bytes(IDENTITY_BYTES)
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._room = self.bytes_max = min(JOURNAL_BYTES, store.reserve_bytes // RESERVE_SHARE)
        """Of bodies and events together, as they came; and of the file, where they are packed."""
        self._at = 0
        self._file = -1
        self.error: OSError | None = None
        """Why nothing is taken any more until the store is opened again."""
        try:
            self._file = open_file(store.path, os.O_RDWR | os.O_CREAT)
            _allocate(self._file, self.bytes_max)
            _keep_name(store.path)
        except OSError as error:
            self.error = error

    def has_room(self, size: int, events: int) -> bool:
        """Whether so many bytes of bodies, with so many events, may be appended together."""
        return self.error is None and size <= JOURNAL_DELIVERIES_BYTES_MAX and size + events * EVENT_BYTES <= self._room

    def append(self, appends: Sequence[Append]) -> bool:
        """When this returns True these deliveries, whose numbers follow one another, are on disk; else nothing is."""
        encoded = encode(appends, self._store, self._run, self._compressor)
        if self.error is not None or self._room < 0 or self._at + len(encoded) > self.bytes_max:
            return False
        try:
            _write(self._file, encoded, self._at)
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError):
                _write(self._file, NO_RECORD, self._at)
            return False
        self._at += len(encoded)
        self._room -= sum([append.numbered.deliveries.size + append.numbered.count * EVENT_BYTES for append in appends])
        return True

    def rewind(self) -> None:
        """Everything in it is in the store."""
        self._at, self._room = 0, self.bytes_max

    def clear(self) -> None:
        """Everything in it is in the store, and nothing is taken any more: a copy of the store may take its place."""
        self._room = -1
        if self.error is None:
            with contextlib.suppress(OSError):
                _write(self._file, NO_RECORD, 0)

    def close(self) -> None:
        """No call may be under way. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


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
    """Empty, private, and with all its blocks written; where there is no room for them it takes none."""
    os.fchmod(file, 0o600)
    if os.fstat(file).st_size == size:
        _write(file, NO_RECORD, 0)
        return
    os.ftruncate(file, 0)
    try:
        _write(file, bytes(size), 0)
        os.fsync(file)
    except OSError:
        os.ftruncate(file, 0)
        raise
