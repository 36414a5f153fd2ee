"""Does a step of retention inside the transaction of a group: judges again what may have changed since, then removes.

The statuses are those that the group leaves. An event that is pending by now, given back by this very group perhaps,
keeps what it has, and so does what was to leave with it; a later step looks at that again. So does a block that is not
as it was. Nothing else can have changed: only retention changes records of the log, one step after the other, and what
is over stays so.
"""

from collections.abc import Callable
from typing import Any

import numpy
import zstandard

from storage.codec.fronts import Kind, encode_mark, front_key
from storage.codec.records import DIGEST_BYTES, encode_ids, key_of
from storage.codec.status_rows import Rows, encode_statuses, is_pending
from storage.lmdb_store.environment import Store
from storage.read.fronts import newest_marks, oldest_marks
from storage.read.snapshot import Block, Snapshot
from storage.removal import BodiesRemoval, ReceiptsRemoval, Removal
from storage.statuses import EXPIRED_OF, EventStatus

MARK_MS = 3600 * 1000
"""The least time between two marks that stay: that exactly it is known when something left."""

MARKS_MAX = 1000
"""Of one kind; the oldest go. What left before the oldest mark is said to have left by then."""

Count = Callable[[str, str, int], None]
"""Takes a source, a counter of its totals, and by how much that grows."""


class Remover:
    """One step in one transaction, once the group itself is written."""

    def __init__(self, txn: Any, store: Store, count: Count) -> None:
        self._txn = txn
        self._store = store
        self._count = count
        self._snapshot = Snapshot(store, txn, zstandard.ZstdDecompressor())
        self._block: Block | None = None

    def remove(self, removal: Removal, wall_ms: int) -> None:
        """Remove what still may leave. `wall_ms`: the wall clock, for who asks when it left."""
        for bodies in removal.bodies:
            if bodies.is_bodiless or self._may_leave(bodies, dead_may_leave=removal.dead_may_leave):
                self._remove_bodies(bodies)
        for receipts in removal.receipts:
            self._remove_receipts(receipts, dead_may_leave=removal.dead_may_leave)
        for key, value in removal.results:
            if value is None:
                self._txn.delete(key, db=self._store.results)
            else:
                self._txn.put(key, value, db=self._store.results)
        self._move("bodies", removal.bodies_front, wall_ms)
        self._move("receipts", removal.receipts_front, wall_ms)

    def _may_leave(self, bodies: BodiesRemoval, *, dead_may_leave: bool) -> bool:
        number = bodies.leaving[0].start
        block = self._block
        if block is None or not block.first <= number < block.end:
            block = self._block = self._snapshot.block_of(number)
        return block is not None and not any(_holds(_part(block, each), dead_may_leave) for each in bodies.leaving)

    def _remove_bodies(self, bodies: BodiesRemoval) -> None:
        if not bodies.is_bodiless and self._block is not None:
            rows = [_part(self._block, numbers)["status"] for numbers in bodies.leaving]
            self._count(bodies.source_id, "dead_now", -sum(int((each == EventStatus.DEAD).sum()) for each in rows))
        for database, key in bodies.deletions:
            self._txn.delete(key, db=getattr(self._store, database))
        for database, key, value in bodies.puts:
            self._txn.put(key, value, db=getattr(self._store, database))
        self._count(bodies.source_id, "expired", sum(map(len, bodies.leaving)))

    def _remove_receipts(self, receipts: ReceiptsRemoval, *, dead_may_leave: bool) -> None:
        block = self._snapshot.block_of(receipts.first)
        if block is None or (block.first, block.end) != (receipts.first, receipts.end):
            return
        parts = [(source_id, _part(block, numbers)) for source_id, numbers in receipts.leaving]
        if any(_holds(rows, dead_may_leave) for _, rows in parts):
            return
        digests = self._snapshot.digests(block)
        self._block = None
        if not receipts.kept or receipts.kept[0].start != block.first:
            self._txn.delete(key_of(block.first), db=self._store.ids)
            self._txn.delete(key_of(block.first), db=self._store.statuses)
        for kept in receipts.kept:
            key, low, high = key_of(kept.start), kept.start - block.first, kept.stop - block.first
            self._txn.put(key, encode_ids(key, digests[low * DIGEST_BYTES : high * DIGEST_BYTES]), db=self._store.ids)
            self._txn.put(key, encode_statuses(key, block.rows[low:high]), db=self._store.statuses)
        for database, key in receipts.deletions:
            self._txn.delete(key, db=getattr(self._store, database))
        for source_id, rows in parts:
            for status, events in enumerate(numpy.bincount(rows["status"], minlength=len(EventStatus)).tolist()):
                if events:
                    self._count(source_id, EXPIRED_OF[EventStatus(status)], events)

    def _move(self, kind: Kind, number: int, wall_ms: int) -> None:
        """Move a front to this number. Marks are an hour apart, but for the newest."""
        if not number:
            return
        meta = self._store.meta
        marks = newest_marks(self._txn, meta, kind, 2)
        if len(marks) == 2 and abs(marks[0][1] - marks[1][1]) < MARK_MS:
            self._txn.delete(front_key(kind, marks[0][0]), db=meta)
        else:
            for oldest in oldest_marks(self._txn, meta, kind, MARKS_MAX):
                self._txn.delete(front_key(kind, oldest), db=meta)
        key = front_key(kind, number)
        self._txn.put(key, encode_mark(key, max(1, wall_ms)), db=meta)  # 0 would say that nothing has left


def _part(block: Block, numbers: range) -> Rows:
    return block.rows[numbers.start - block.first : numbers.stop - block.first]


def _holds(rows: Rows, dead_may_leave: bool) -> bool:
    statuses = rows["status"]
    return bool(is_pending(statuses).any() or not (dead_may_leave or (statuses != EventStatus.DEAD).all()))
