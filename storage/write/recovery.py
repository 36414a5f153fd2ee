"""Recovery before reading: what was acknowledged and is only in the journal is put into the store first."""

import time
from contextlib import closing
from pathlib import Path

from storage.errors import StoreDamaged, StoreError, StoreLocked
from storage.journal.records import read_journal
from storage.lmdb_store.environment import Store
from storage.read.snapshot import Snapshots
from storage.write.writer import Writer

RECOVERY_SECONDS = 5.0
"""The longest wait for a running server, which needs some milliseconds."""

POLL_SECONDS = 0.002


def recover(path: Path) -> int:
    """Have everything that is in the journal of the store in this directory put into the store; call it before reading.

    A running server does that by itself, and is waited for; if none runs, it is done here. Return how many events are
    still in the journal alone, since nothing can be written there or the server cannot. Raises what opening the store
    raises.
    """
    until = time.monotonic() + RECOVERY_SECONDS
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
        with Snapshots(store).take() as snapshot:
            end = snapshot.end
        return sum(found.end - found.first for found in read_journal(store, end)), store.map_size_bytes
