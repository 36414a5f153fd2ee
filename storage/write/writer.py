"""The only writer: what is committed, and the one function that commits.

Guarantees: when `write` returns, the whole group is on disk (LMDB's commit flushed it); when it raises, nothing of the
group is, and this object is as it was before: a transaction makes a new WriterState beside the old one, which takes its
place after the commit. How a group is written: `transaction.py`.
"""

import zstandard

from storage.codec.log_record import COMPRESSION_LEVEL
from storage.errors import StoreDamaged
from storage.journal.records import read_journal
from storage.lmdb_store.environment import Store
from storage.model import Append, Group, Written
from storage.read.snapshot import Snapshots
from storage.statuses import Totals
from storage.store_time import host_time, read_boot_id
from storage.write.transaction import LastBlock, Transaction, WriterState


class Writer:
    """The only writer of a store. All calls on one thread; `totals` and `next_number` may be read by any."""

    def __init__(self, store: Store) -> None:
        """Reads what is committed, and commits what only the journal has: acknowledged, and cut off by a crash.

        Raises StoreDamaged where the end of the store cannot be read, or where the journal does not follow it.
        """
        self._store = store
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._boot_id = read_boot_id()
        self._state = _load(store)
        self.recovered = 0
        """Events that only the journal had."""
        appends = _journaled(store, self.next_number)
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

        Raises IllegalStatusChange (our bug), StoreFull, StoreFailed, StoreError; then nothing was written. A delivery
        that does not follow the last one raises ValueError.
        """
        work = Transaction(self._state, group, host_time(self._boot_id), self._compressor)
        with self._store.write_transaction() as txn:
            used_bytes = work.run(txn, self._store)
        self._state = work.state()
        return Written(work.digests, work.totals, used_bytes)


def _journaled(store: Store, number: int) -> list[Append]:
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


def _load(store: Store) -> WriterState:
    with Snapshots(store).take() as snapshot:
        totals, time = snapshot.totals(), snapshot.store_time()
        next_result = (snapshot.last_number("results") or 0) + 1
        first = snapshot.last_number("ids")
        if first is None:
            return WriterState(totals, 1, next_result, None, time)
        block = snapshot.block_at(first)
        last = LastBlock(first, block.rows, snapshot.digests(block))
    return WriterState(totals, last.end, next_result, last, time)
