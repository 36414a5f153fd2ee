"""The only writer: what is committed, and the one function that commits.

Guarantees: when `write` returns, the whole group is on disk (LMDB's commit flushed it); when it raises, nothing of the
group is, and this object is as it was before: a transaction makes a new State beside the old one, which takes its place
after the commit. How a group is written: `transaction.py`.
"""

from typing import Any

import zstandard

from storage.codec.log_record import COMPRESSION_LEVEL
from storage.codec.records import (
    DIGEST_BYTES,
    TIME_KEY,
    damaged,
    decode_ids,
    decode_time,
    number_of,
)
from storage.codec.statuses import decode_statuses
from storage.errors import StoreDamaged
from storage.journal.records import read_journal
from storage.lmdb_store.environment import Store
from storage.model import Append, Group, Totals, Written
from storage.read.reader import Reader
from storage.store_time import host_time, read_boot_id
from storage.write.transaction import State, Tail, Transaction


class Writer:
    """The only writer of a store. All calls on one thread; `totals` and `next_number` may be read by any."""

    def __init__(self, store: Store) -> None:
        """Reads what is committed, and commits what only the journal has: acknowledged, and cut off by a crash.

        Raises StoreDamaged where the end of the store cannot be read, or where the journal does not follow it.
        """
        self._store = store
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._boot_id = read_boot_id()
        totals = Reader(store).totals()
        with store.read_transaction() as txn:
            self._state = _load(store, txn, totals)
        self.recovered = 0
        """Events that only the journal had."""
        appends = _beyond(store, self.next_number)
        if appends:
            before = self.next_number
            self.write(Group(appends))
            self.recovered = self.next_number - before

    @property
    def totals(self) -> dict[str, Totals]:
        """Of every source, as committed; never changed in place."""
        return self._state.totals

    @property
    def next_number(self) -> int:
        """Of the next event."""
        return self._state.next_number

    def write(self, group: Group) -> Written:
        """Commit the group: after this it is on disk.

        Raises IllegalOutcome (our bug), StoreFull, StoreFailed, StoreError; then nothing was written. A delivery that
        does not follow the last one raises ValueError.
        """
        work = Transaction(self._state, group, host_time(self._boot_id), self._compressor)
        with self._store.write_transaction() as txn:
            used_bytes = work.run(txn, self._store)
        self._state = work.state()
        return Written(work.digests, work.totals, used_bytes)


def _beyond(store: Store, number: int) -> list[Append]:
    """What the journal has from this number on."""
    appends: list[Append] = []
    for journaled in read_journal(store, number):
        if journaled.first != number:
            raise StoreDamaged(
                f"the journal goes on at event {journaled.first}, the store ends before event {number}: what came "
                "between is missing. To go on without it, move the file `journal` away"
            )
        appends += journaled.appends()
        number = journaled.end
    return appends


def _load(store: Store, txn: Any, totals: dict[str, Totals]) -> State:
    found = txn.get(TIME_KEY, db=store.meta)
    time = None if found is None else decode_time(bytes(found))
    cursor = txn.cursor(db=store.results)
    next_result = number_of(b"results", bytes(cursor.key())) + 1 if cursor.last() else 1
    cursor = txn.cursor(db=store.ids)
    if not cursor.last():
        return State(totals, 1, next_result, None, time)
    key = bytes(cursor.key())
    tail = _tail(store, txn, key, decode_ids(key, bytes(cursor.value())))
    return State(totals, tail.end, next_result, tail, time)


def _tail(store: Store, txn: Any, key: bytes, digests: bytes) -> Tail:
    value = txn.get(key, db=store.statuses)
    if value is None:
        raise damaged(b"statuses", key, "there is no such record")
    rows = decode_statuses(key, bytes(value))
    if len(rows) * DIGEST_BYTES != len(digests):
        raise damaged(b"statuses", key, "the record has another count than the one in ids")
    return Tail(number_of(b"statuses", key), rows, digests)
