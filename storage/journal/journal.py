"""The journal: deliveries that are on disk before they are in the store, so that a few need not wait for a transaction.

A file of fixed size beside the store, written from its start whenever everything in it is in the store. Its blocks are
written when it is made, so that adding to it changes data alone and costs one `fdatasync` (`storage/sync.py`). What a
delivery says here is what it will say in the log; whoever opens the store to write puts what is missing there first
(`Writer`: recovery).
"""

import contextlib
import os
import secrets
from collections.abc import Sequence

import zstandard

from storage import sync
from storage.codec.log_record import COMPRESSION_LEVEL
from storage.codec.records import IDENTITY_BYTES
from storage.journal.records import JOURNAL_BYTES, NO_RECORD, encode, open_file
from storage.lmdb_store.environment import Store
from storage.model import Append

JOURNAL_DELIVERIES_BYTES_MAX = 64 * 1024
"""Of bodies in one record. For more, a transaction takes hardly longer, and writing everything twice costs more."""

EVENT_BYTES = 256
"""What an event counts for beside its body: it takes memory until it is in the store, and room there."""

RESERVE_SHARE = 4
"""What may be acknowledged and not in the store is at most this part of the store's reserve: it always finds room."""


class Journal:
    """The journal of a store that is open to be written. `append` on one thread; never two calls at once."""

    def __init__(self, store: Store) -> None:
        """Make it empty; call when everything in it is in the store. If that fails there is none, `error` says why."""
        self._store = store.identity
        self._run = secrets.token_bytes(IDENTITY_BYTES)
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._room = self.bytes_max = min(JOURNAL_BYTES, store.reserve_bytes // RESERVE_SHARE)
        """Of bodies and events together, as they came; and of the file, in which they are packed."""
        self._at = 0
        self._file = -1
        self.error: OSError | None = None
        """Why nothing more is taken until the store is opened again."""
        try:
            self._file = open_file(store.path, os.O_RDWR | os.O_CREAT)
            _allocate(self._file, self.bytes_max)
            sync.flush_directory(store.path)
        except OSError as error:
            self.error = error

    def has_room(self, size: int, events: int) -> bool:
        """Return whether so many bytes of bodies, with so many events, may be appended together."""
        return self.error is None and size <= JOURNAL_DELIVERIES_BYTES_MAX and size + events * EVENT_BYTES <= self._room

    def append(self, appends: Sequence[Append]) -> bool:
        """Put these deliveries, whose numbers follow one another, on disk; return False if nothing of them is there."""
        encoded = encode(appends, self._store, self._run, self._compressor)
        if self.error is not None or self._room < 0 or self._at + len(encoded) > self.bytes_max:
            return False
        try:
            _put(self._file, encoded, self._at)
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError):
                _put(self._file, NO_RECORD, self._at)
            return False
        self._at += len(encoded)
        self._room -= sum([append.numbered.deliveries.size + append.numbered.count * EVENT_BYTES for append in appends])
        return True

    def rewind(self) -> None:
        """Start over at the beginning; call only when everything in it is in the store."""
        self._at, self._room = 0, self.bytes_max

    def clear(self) -> None:
        """Make it empty and take nothing more: a copy of the store may be put in place then. Call as for `rewind`."""
        self._room = -1
        if self.error is None:
            with contextlib.suppress(OSError):
                _put(self._file, NO_RECORD, 0)

    def close(self) -> None:
        """Close the file; call when no other call is under way. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _put(file: int, data: bytes, at: int) -> None:
    """Write it; return when it is on disk."""
    sync.write_at(file, data, at)
    sync.flush_data(file)


def _allocate(file: int, size: int) -> None:
    """Make it empty and private, with all its blocks written; if there is no room for them, without any."""
    os.fchmod(file, 0o600)
    if os.fstat(file).st_size == size:
        _put(file, NO_RECORD, 0)
        return
    os.ftruncate(file, 0)
    try:
        sync.write_at(file, bytes(size), 0)
        sync.flush_file(file)
    except OSError:
        os.ftruncate(file, 0)
        raise
