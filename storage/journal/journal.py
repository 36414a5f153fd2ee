"""The journal: puts deliveries on disk before they are in the store, so that a few need not wait for a transaction.

A file of fixed size beside the store, written from its start again whenever every record is in the store. Its blocks
are allocated when it is created, so that appending changes only data and costs one `fdatasync` (`storage/sync.py`).
Deliveries are encoded as in the log. Opening the store for writing first adds what is missing there (`Writer`:
recovery).
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
from storage.lmdb_store.disk import give_to_owner
from storage.lmdb_store.environment import Store
from storage.lmdb_store.held import HeldFile
from storage.model import Append

JOURNAL_DELIVERIES_BYTES_MAX = 64 * 1024
"""Of bodies in one record. For more, a transaction takes hardly longer, and writing all twice costs more."""

EVENT_BYTES = 256
"""What an event counts beside its body: it takes memory until it is in the store, and space there."""

RESERVE_SHARE = 4
"""At most this part of the store's reserve may be acknowledged but not stored, so that it always fits."""


class Journal:
    """The journal of a store that is open for writing. `append` on one thread; never two calls at once."""

    def __init__(self, store: Store) -> None:
        """Create it or empty it; call only when every record is in the store. On failure `error` is set."""
        self._store = store.identity
        self._witness = store.witness
        self._run = secrets.token_bytes(IDENTITY_BYTES)
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._room = self.bytes_max = min(JOURNAL_BYTES, store.reserve_bytes // RESERVE_SHARE)
        """The limit on bodies (as decoded) and events together, and on the file, where they are compressed."""
        self._at = 0
        self._file = -1
        self.error: OSError | None = None
        """Why nothing can be appended until the store is opened again."""
        try:
            self._file = open_file(store.path, os.O_RDWR | os.O_CREAT)
            give_to_owner(store.path / "journal")
            _allocate(self._file, self.bytes_max)
            sync.flush_directory(store.path)
            self._held = [HeldFile(store.path / "journal", (self._file,)), *_lock_of(store)]
        except OSError as error:
            self.error = error

    def has_room(self, size: int, events: int) -> bool:
        """Return whether `size` bytes of bodies, with this many events, may be appended together."""
        return self.error is None and size <= JOURNAL_DELIVERIES_BYTES_MAX and size + events * EVENT_BYTES <= self._room

    def append(self, appends: Sequence[Append]) -> bool:
        """Put these deliveries, with consecutive numbers, on disk; return False if none of them is."""
        encoded = encode(appends, self._store, self._run, self._compressor)
        if self.error is not None or self._room < 0 or self._at + len(encoded) > self.bytes_max:
            return False
        try:
            self._check_held()
            _write_durably(self._file, encoded, self._at)
            self._check_held()
        except OSError as error:
            self.error = error
            with contextlib.suppress(OSError):
                self._check_held()
                _write_durably(self._file, NO_RECORD, self._at)
            return False
        self._witness.acknowledged(appends[-1].numbered.end)
        self._at += len(encoded)
        self._room -= sum([append.numbered.deliveries.size + append.numbered.count * EVENT_BYTES for append in appends])
        return True

    def rewind(self) -> None:
        """Start over at the beginning; call only when every record is in the store."""
        self._at, self._room = 0, self.bytes_max

    def clear(self) -> None:
        """Empty it and accept no more, so that a copy of the store may take its place. Call only as `rewind`."""
        self._room = -1
        if self.error is None:
            with contextlib.suppress(OSError):
                self._check_held()
                _write_durably(self._file, NO_RECORD, 0)

    def overwrite(self) -> bool:
        """Overwrite all that it held; call only as `rewind`. Return whether that succeeded; if not, `error` is set."""
        if self.error is None:
            try:
                self._check_held()
                _write_durably(self._file, bytes(self.bytes_max), 0)
                self.rewind()
            except OSError as error:
                self.error = error
        return self.error is None

    def _check_held(self) -> None:
        for each in self._held:
            each.check()

    def close(self) -> None:
        """Close the file; call while no other call is running. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _lock_of(store: Store) -> list[HeldFile]:
    """Return the file without which another process could write into the same journal."""
    return [] if store.lock_file is None else [HeldFile(store.lock_path, (store.lock_file,))]


def _write_durably(file: int, data: bytes, at: int) -> None:
    """Write the data; return when it is on disk."""
    sync.write_at(file, data, at)
    sync.flush_data(file)


def _allocate(file: int, size: int) -> None:
    """Empty the file, make it private and allocate its blocks. Raises OSError, and leaves none, if they do not fit."""
    os.fchmod(file, 0o600)
    if os.fstat(file).st_size == size:
        _write_durably(file, NO_RECORD, 0)
        return
    os.ftruncate(file, 0)
    try:
        sync.write_at(file, bytes(size), 0)
        sync.flush_file(file)
    except OSError:
        os.ftruncate(file, 0)
        raise
