"""The only writer: what is committed, and the one function that commits.

Guarantees: when `write` returns, the whole group is on disk (LMDB's commit flushed it); when it raises, nothing of the
group is, and this object is as it was before: a transaction makes a new WriterState beside the old one, which takes its
place after the commit. How a group is written: `transaction.py`.
"""

from collections.abc import Callable
from functools import partial

import zstandard

from storage.codec.log_record import COMPRESSION_LEVEL
from storage.errors import StoreDamaged
from storage.forget.overwrite import overwrite_free
from storage.journal.records import HasJournal, Journaled, read_journal
from storage.lmdb_store.environment import Store
from storage.lmdb_store.errors import uninterrupted
from storage.lmdb_store.witness import WAY_OUT, Reached, known
from storage.model import Append, Group, Written
from storage.read.snapshot import Snapshots
from storage.statuses import Totals, grown
from storage.store_time import HostTime, StoreClock, StoreTime
from storage.write.transaction import LastBlock, Transaction, WriterState


class Writer:
    """The only writer of a store. All calls on one thread; `totals`, `next_number` and `clock` are for any."""

    def __init__(self, store: Store, host: Callable[[], HostTime] | None = None) -> None:
        """Read what is committed, and recover: commit what only the journal has, acknowledged and cut off by a crash.

        `host`: reads the clocks of the host; given by tests. Raises StoreDamaged if the end of the store cannot be
        read, if the journal does not follow it, or if there was more: see `storage/lmdb_store/witness.py`.
        """
        self._store = store
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._state, newest = _load(store)
        before = known(store.path, store.identity)
        self._counts = grown(self.totals.values())
        _complain_of(before.missing_from(Reached(self.next_number, newest.store_ms if newest else 0, self._counts)))
        self.clock = StoreClock(newest, host)
        self.recovered = 0
        """Events that only the journal had."""
        appends = journaled(store, self.next_number)
        if appends:
            first = self.next_number
            self.write(Group(appends))
            self.recovered = self.next_number - first
        _complain_of(before.unrecovered(self.next_number))

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
        return uninterrupted(partial(self._write, group))

    def _write(self, group: Group) -> Written:
        time = self.clock.now()
        work = Transaction(self._state, group, time, self._compressor)
        with self._store.write_transaction() as txn:
            if group.erasure is not None and len(group.erasure.overwrite):
                overwrite_free(self._store, group.erasure.overwrite)
            used_bytes = work.run(txn, self._store)
        self._counts += grown(work.totals.values()) - grown(
            self.totals[each] for each in work.totals if each in self.totals
        )
        self._state = work.state()
        self._store.witness.stored(Reached(self.next_number, time.store_ms, self._counts))
        return Written(work.digests, work.body_digests, work.totals, used_bytes)


def journaled(
    store: HasJournal, number: int, appends_in: Callable[[Journaled], list[Append]] = Journaled.appends
) -> list[Append]:
    """Return what the journal has from this number on. `appends_in`: how a record of an older format is read.

    Raises StoreDamaged if it does not go on there, StoreError.
    """
    appends: list[Append] = []
    for each in read_journal(store, number):
        if each.first != number:
            raise StoreDamaged(
                f"the journal goes on at event {each.first}, the store ends before event {number}: what came "
                f"between is missing: {WAY_OUT}"
            )
        appends += appends_in(each)
        number = each.end
    return appends


def _complain_of(missing: str) -> None:
    if missing:
        raise StoreDamaged(missing)


def _load(store: Store) -> tuple[WriterState, StoreTime | None]:
    """Return the state of the store, and its time as written last."""
    with Snapshots(store).take() as snapshot:
        totals, time = snapshot.totals(), snapshot.store_time()
        next_result = (snapshot.last_number("results") or 0) + 1
        index_bytes = snapshot.bytes_of("index")
        first = snapshot.last_number("ids")
        if first is None:
            return WriterState(totals, 1, next_result, None, index_bytes), time
        block = snapshot.block_at(first)
        last = LastBlock(first, block.rows, snapshot.digests(block))
    return WriterState(totals, last.end, next_result, last, index_bytes), time
