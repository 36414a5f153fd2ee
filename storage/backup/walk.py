"""Reads a store for its copy, in short transactions: what is read together is right in itself, and nothing is held.

A store changes meanwhile. What is there does not move: numbers are never given twice. So most of it is read once:

- Records of the log change only when retention takes something out, and what it takes out may as well be in the copy.
- A block of which every event has its last outcome never changes, but for retention. The others are *open*: noted, and
  compared when all else is read. So is one whose records left while they were read.
- Details of outcomes are read before blocks, in each transaction: whatever a block refers to is in the copy before it.
- The last block grows: each transaction looks at it again, and goes on with what came behind it, until little comes.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from storage.codec.log_record import decode_log_head
from storage.codec.records import damaged, key_of, number_of
from storage.codec.status_rows import Rows, decode_statuses
from storage.lmdb_store.environment import Store
from storage.read.pieces import pieces_of
from storage.statuses import EventStatus

STEP_BYTES_MAX = 2**20
"""A transaction ends with the record that reaches it: about a millisecond, once the pages are in memory."""

STEP_RECORDS_MAX = 200
"""The same of small records."""

FINAL = (EventStatus.PROCESSED, EventStatus.DUPLICATE, EventStatus.DROPPED)
"""The statuses that no other follows."""

Value = tuple[str, bytes, bytes]
"""A database, a key and a value."""


class Walk:
    """One way through the blocks from `start` on, and their records; `until`: before the block of this number."""

    def __init__(self, store: Store, start: int = 0, until: int | None = None) -> None:
        self._store = store
        self._until = until
        self._result = 0
        """The key of the next record of `results`."""
        self.at = start
        """The number of the next block."""
        self._record, self._block_end = start, start
        """The next record of the block in hand, and where that ends."""
        self.last = start
        """The first number of the last block that was read."""
        self.open = array("Q")
        """The first numbers of open blocks, ascending."""

    def step(self, txn: Any) -> tuple[list[Value], bool]:
        """Read as much as one transaction shall; return it, and whether there may be more."""
        found: list[Value] = []
        size = 0
        for records, values in enumerate(self.everything(txn), 1):
            found += values
            size += sum(len(value) for _, _, value in values)
            if size >= STEP_BYTES_MAX or records >= STEP_RECORDS_MAX:
                return found, True
        return found, False

    def everything(self, txn: Any) -> Iterator[Sequence[Value]]:
        """Yield what is left, what belongs together at once; may be left off behind each."""
        yield from self._results(txn)
        yield from self.blocks(txn)

    def blocks(self, txn: Any) -> Iterator[Sequence[Value]]:
        """Yield the same without the details of outcomes."""
        yield from self._grown(txn)
        yield from self._records(txn)
        cursor = txn.cursor(db=self._store.statuses)
        while cursor.set_range(key_of(self.at)):
            key = bytes(cursor.key())
            first = number_of(b"statuses", key)
            if self._until is not None and first >= self._until:
                return
            self._record = self.last = first
            yield self._block(txn, first, bytes(cursor.value()))
            yield from self._records(txn)

    def _grown(self, txn: Any) -> Iterator[Sequence[Value]]:
        """Yield the last block again if it has grown; its records that were read stay. Note it if it is not whole."""
        found = txn.get(key_of(self.last), db=self._store.statuses) if self.last < self._block_end else b""
        count = len(decode_statuses(key_of(self.last), bytes(found))) if found else 0
        if self.last + count > self._block_end:
            yield self._block(txn, self.last, bytes(found))
        elif self.last + count < self._block_end:
            self._note()

    def _block(self, txn: Any, first: int, statuses: bytes) -> Sequence[Value]:
        """Take a block in hand, or go on with it; return its ids and statuses."""
        key = key_of(first)
        ids = txn.get(key, db=self._store.ids)
        if ids is None:
            raise damaged(b"ids", key, "there is no such record")
        rows = decode_statuses(key, statuses)
        self.at = self._block_end = first + len(rows)
        if not is_final(rows):
            self._note()
        return [("ids", key, bytes(ids)), ("statuses", key, statuses)]

    def _results(self, txn: Any) -> Iterator[Sequence[Value]]:
        cursor = txn.cursor(db=self._store.results)
        while cursor.set_range(key_of(self._result)):
            key = bytes(cursor.key())
            self._result = number_of(b"results", key) + 1
            yield [("results", key, bytes(cursor.value()))]

    def _records(self, txn: Any) -> Iterator[Sequence[Value]]:
        """Yield the records of the block in hand, with their bodies."""
        while self._record < self._block_end:
            facts = [("facts", key, bytes(piece)) for key, piece in pieces_of(txn, self._store.facts, self._record)]
            if not facts:  # they have left meanwhile: the block is not as it was
                self._record = self._block_end
                self._note()
                return
            bodies = [("bodies", key, bytes(piece)) for key, piece in pieces_of(txn, self._store.bodies, self._record)]
            digests = self._body_digests(txn, facts[0][1])
            self._record = decode_log_head(facts[0][1], facts[0][2]).end
            yield facts + bodies + digests

    def _body_digests(self, txn: Any, key: bytes) -> list[Value]:
        """Return the digests of a record's bodies, if it has some."""
        database = self._store.body_digests
        found = None if database is None else txn.get(key, db=database)
        return [] if found is None else [("body_digests", key, bytes(found))]

    def _note(self) -> None:
        """Note the block in hand as open."""
        if not self.open or self.open[-1] != self.last:
            self.open.append(self.last)


def is_final(rows: Rows) -> bool:
    """Return whether no event of these rows can get another status."""
    return bool(numpy.isin(rows["status"], FINAL).all())
