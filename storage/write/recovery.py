"""For who reads beside the writer: what was acknowledged and is in the journal alone comes into the store first."""

import time
from contextlib import closing
from pathlib import Path

from storage.codec.records import DIGEST_BYTES, decode_ids, number_of
from storage.errors import StoreDamaged, StoreError, StoreLocked
from storage.journal.records import read_journal
from storage.lmdb_store.environment import Store
from storage.write.writer import Writer

CATCH_UP_SECONDS = 5.0
"""The longest wait for a running server, which needs some milliseconds."""

POLL_SECONDS = 0.002


def catch_up(path: Path) -> int:
    """Return when the store in this directory has what its journal has: a running server puts it there by itself; where
    none runs, this does. Returns how many events are in the journal still, since nothing can be written there or the
    server cannot. Raises what opening the store raises.
    """
    until = time.monotonic() + CATCH_UP_SECONDS
    left, map_size_bytes = _left(path)
    while left and time.monotonic() < until:
        try:
            with closing(Store.open(path, map_size_bytes=map_size_bytes, mode="write")) as store:
                Writer(store)
        except StoreLocked:
            time.sleep(POLL_SECONDS)
        except StoreDamaged:
            raise
        except StoreError:
            break
        left, map_size_bytes = _left(path)
    return left


def _left(path: Path) -> tuple[int, int]:
    """How many events only the journal has, and the size of the store's map."""
    with closing(Store.open(path, mode="read")) as store:
        end = _end(store)
        return sum(found.end - found.first for found in read_journal(store, end)), store.map_size_bytes


def _end(store: Store) -> int:
    """The number after the last event."""
    with store.read_transaction() as txn:
        cursor = txn.cursor(db=store.ids)
        if not cursor.last():
            return 1
        key = bytes(cursor.key())
        return number_of(b"ids", key) + len(decode_ids(key, bytes(cursor.value()))) // DIGEST_BYTES
