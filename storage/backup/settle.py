"""Brings a copy to one moment of its store: what changed while it was read, and the accounts of what has left."""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy

from storage.backup.walk import Walk
from storage.codec.records import ERASURE_KEY, encode_totals, key_of, totals_key
from storage.codec.status_rows import decode_statuses
from storage.errors import StoreDamaged
from storage.lmdb_store.environment import Store
from storage.lmdb_store.making import FORMAT_KEY
from storage.read.fronts import front
from storage.read.snapshot import Snapshots
from storage.statuses import ENDED, EXPIRED_OF, GONE_OF, RULES, EventStatus, Totals

OF_NUMBERS = ("facts", "bodies", "ids", "statuses", "body_digests")
"""The databases whose keys are numbers of events."""

INDEX_KEY = b"index"
"""How far the look-up index reaches: a copy has none, and its server makes it."""


class Copy:
    """What is written to: one transaction of the copy."""

    def __init__(self, store: Store, txn: Any) -> None:
        self._store = store
        self._txn = txn
        self.size = 0
        """Bytes of the values that were put."""

    def put(self, database: str, key: bytes, value: bytes, *, append: bool = False) -> None:
        self._txn.put(key, value, db=getattr(self._store, database), append=append)
        self.size += len(value)

    def statuses(self, first: int) -> bytes:
        """Return the record of the block that begins so, which is known to be there."""
        return bytes(self._txn.get(key_of(first), db=self._store.statuses))

    def remove(self, first: int, end: int) -> None:
        """Remove all of the events `first` .. `end - 1`."""
        for database in OF_NUMBERS:
            cursor = self._txn.cursor(db=getattr(self._store, database))
            while cursor.set_range(key_of(first)) and bytes(cursor.key()) < key_of(end):
                cursor.delete()

    def remove_meta(self) -> None:
        """Remove what the making of the copy has put there, but for its format."""
        cursor = self._txn.cursor(db=self._store.meta)
        for key in [bytes(key) for key in cursor.iternext(values=False)]:
            if key != FORMAT_KEY:
                self._txn.delete(key, db=self._store.meta)


def settle(walk: Walk, store: Store, txn: Any, copy: Copy) -> None:
    """Bring the copy to the moment of this transaction of the store, once `walk` has been through nearly all of it."""
    for values in walk.everything(txn):
        for value in values:
            copy.put(*value)
    bodies_front = front(txn, store.meta, "bodies")
    for first in walk.open:
        _refresh(store, txn, copy, first, bodies_front)
    copy.remove_meta()
    for key, value in txn.cursor(db=store.meta):
        if bytes(key) not in {FORMAT_KEY, INDEX_KEY, ERASURE_KEY}:  # nothing in a copy was ever overwritten
            copy.put("meta", bytes(key), bytes(value))


def _refresh(store: Store, txn: Any, copy: Copy, first: int, bodies_front: int) -> None:
    """Read an open block again. Where retention may have been, read all of it: with its outcomes bodies have left."""
    key, mine = key_of(first), copy.statuses(first)
    found = txn.get(key, db=store.statuses)
    theirs = None if found is None else bytes(found)
    if theirs == mine:
        return
    count = len(decode_statuses(key, mine))
    if theirs is not None and first >= bodies_front and len(decode_statuses(key, theirs)) == count:
        copy.put("statuses", key, theirs)
        return
    copy.remove(first, first + count)
    for values in Walk(store, first, first + count).blocks(txn):
        for value in values:
            copy.put(*value)


# Accounts.


def balance(store: Store) -> None:
    """Write the accounts of what has left anew, since the copy may hold what left its store while it was read.

    What came, and what became of it, is as the store has it. What has left is the rest: all that is not in the copy.
    """
    events, expired, listed = _recount(store)
    with Snapshots(store).take() as snapshot:
        totals = snapshot.totals()
    with store.write_transaction() as txn:
        for source_id, found in totals.items():
            key = totals_key(source_id)
            balanced = replace(
                _balanced(source_id, found, events[source_id], expired[source_id]), dead_now=listed[source_id]
            )
            txn.put(key, encode_totals(key, balanced), db=store.meta)


def _recount(store: Store) -> tuple[dict[str, list[int]], dict[str, int], dict[str, int]]:
    """Return, by source, how many events have each status, of how many the bodies have left, and how many are dead and
    have theirs."""
    events: dict[str, list[int]] = defaultdict(lambda: [0] * len(EventStatus))
    expired: dict[str, int] = defaultdict(int)
    listed: dict[str, int] = defaultdict(int)
    snapshots, at, more = Snapshots(store), 0, True
    while more:
        with snapshots.take() as snapshot:
            for block in snapshot.blocks(at):
                for head in snapshot.heads(block.first, block.end):
                    statuses = block.rows["status"][head.first - block.first : head.end - block.first]
                    for status, count in enumerate(numpy.bincount(statuses, minlength=len(EventStatus)).tolist()):
                        events[head.source_id][status] += count
                    if head.first < snapshot.front("bodies") and not snapshot.has_bodies(head.first):
                        expired[head.source_id] += head.count
                    else:
                        listed[head.source_id] += int((statuses == EventStatus.DEAD).sum())
                at = block.end
            more = snapshot.exhausted
    return events, expired, listed


def _balanced(source_id: str, totals: Totals, events: list[int], expired: int) -> Totals:
    left = {}
    for status in ENDED:
        gone = sum(getattr(totals, name) for name in GONE_OF[status])
        left[EXPIRED_OF[status]] = getattr(totals, RULES[status].counted) - gone - events[status]
    if min(left.values()) < 0:
        raise StoreDamaged(f"meta, totals of {source_id}: the records say more than {totals}")
    return replace(totals, expired=expired + sum(left.values()), **left)
