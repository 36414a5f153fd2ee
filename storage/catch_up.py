"""For who reads beside the writer: what was acknowledged and is in the journal alone comes into the store first."""

import time
from contextlib import closing
from pathlib import Path

from storage.environment import Store
from storage.errors import StoreDamaged, StoreError, StoreLocked
from storage.journal import read_journal
from storage.records import DIGEST_BYTES, decode_ids, number_of
from storage.writer import Writer

CATCH_UP_SECONDS = 5.0
"""The longest wait for a running server, which needs some milliseconds."""

POLL_SECONDS = 0.002


def catch_up(path: Path) -> int:
    """Return when the store in this directory has what its journal has: a running server puts it there by itself; where
    none runs, this does. Returns how many events are in the journal still, since nothing can be written there or the
    server cannot. Raises what opening the store raises.
    """
    journal_end = max((journaled.end for journaled in read_journal(path)), default=0)
    until = time.monotonic() + CATCH_UP_SECONDS
    while journal_end and time.monotonic() < until:
        end, map_size_bytes = _end(path)
        if journal_end <= end:
            return 0
        try:
            with closing(Store.open(path, map_size_bytes=map_size_bytes, mode="write")) as store:
                Writer(store)
        except StoreLocked:
            time.sleep(POLL_SECONDS)
        except StoreDamaged:
            raise
        except StoreError:
            break
    return max(0, journal_end - _end(path)[0]) if journal_end else 0


def _end(path: Path) -> tuple[int, int]:
    """The number after the last event in the store, and the size of its map."""
    with closing(Store.open(path, mode="read", reach=False)) as store, store.read_transaction() as txn:
        cursor = txn.cursor(db=store.ids)
        if not cursor.last():
            return 1, store.map_size_bytes
        key = bytes(cursor.key())
        digests = decode_ids(key, bytes(cursor.value()))
        return number_of(b"ids", key) + len(digests) // DIGEST_BYTES, store.map_size_bytes
