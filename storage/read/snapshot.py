"""One short read transaction: blocks and deliveries by number, every record checked, nothing of the map escapes.

A pinned reader keeps pages from being used again, so a snapshot counts the records that it read: whoever walks asks
`exhausted` and goes on in a new one. Numbers make that safe: what was read does not move.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import zstandard

from storage.codec.log_record import LogHead, body_sizes, decode_log, decode_log_head
from storage.codec.pieces import record_key
from storage.codec.records import (
    DIGEST_BYTES,
    damaged,
    decode_body_digests,
    decode_ids,
    decode_results,
    key_of,
    number_of,
)
from storage.codec.status_rows import Rows, decode_statuses
from storage.deliveries import NumberedDeliveries
from storage.lmdb_store.environment import Store
from storage.read.keys import seek
from storage.read.records import RecordReader

SNAPSHOT_RECORDS_MAX = 1000
"""About a millisecond or two of reading, so that a writer's freed pages are not pinned for longer."""

RESULTS_KEPT = 2
"""Records of `results` in memory: that of a detail, and that of the event's history. Each has about 1 MiB."""


@dataclass(frozen=True, slots=True)
class Block:
    """What became of the events `first` .. `end - 1`."""

    first: int
    rows: Rows

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


class Snapshot(RecordReader):
    """The store as it is at one moment. For use inside `snapshot()` only."""

    def __init__(self, store: Store, txn: Any, decompressor: zstandard.ZstdDecompressor) -> None:
        super().__init__(store, txn)
        self._decompressor = decompressor
        self._unpacked: tuple[int, bool, NumberedDeliveries | None] = (0, False, None)
        self._delivery: NumberedDeliveries | None = None
        self._last_block: Block | None = None
        self._delivery_ids: dict[int, str | None] = {}
        self._ids: tuple[int, bytes] = (0, b"")
        self._bodies: tuple[int, bytes] = (0, b"")
        self._results: dict[int, dict[int, bytes]] = {}
        self._left: tuple[NumberedDeliveries | None, Sequence[int]] = (None, ())

    @property
    def exhausted(self) -> bool:
        return self._records >= SNAPSHOT_RECORDS_MAX

    # Blocks of statuses.

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield the blocks from the one that holds `start` on. Ends early where the snapshot is exhausted."""
        cursor = self._txn.cursor(db=self._store.statuses)
        found = seek(cursor, start)
        while found:
            block = self._block(cursor)
            if block.end > start:
                yield block
                if self.exhausted:
                    return
            found = cursor.next()

    def blocks_backward(self, before: int) -> Iterator[Block]:
        """Yield the blocks that start before this number, the last first. Ends early where it is exhausted."""
        cursor = self._txn.cursor(db=self._store.statuses)
        found = before > 0 and seek(cursor, before - 1)
        while found and (block := self._block(cursor)).first < before:
            yield block
            found = not self.exhausted and cursor.prev()

    def block_at(self, first: int) -> Block:
        """Return the block that starts with this number, which is known to be there."""
        return Block(first, decode_statuses(key_of(first), self._value(b"statuses", self._store.statuses, first)))

    def block_of(self, number: int) -> Block | None:
        """Return the block that holds the number; None if there is no such event. Kept until another one is asked
        for."""
        kept = self._last_block
        if kept is None or not kept.first <= number < kept.end:
            cursor = self._txn.cursor(db=self._store.statuses)
            kept = self._last_block = self._block(cursor) if seek(cursor, number) else None
        return kept if kept is not None and kept.first <= number < kept.end else None

    def _block(self, cursor: Any) -> Block:
        self._records += 1
        key = bytes(cursor.key())
        return Block(number_of(b"statuses", key), decode_statuses(key, bytes(cursor.value())))

    # Digests.

    def digests(self, block: Block) -> bytes:
        """Return the digests of a block's events."""
        if self._ids[0] != block.first:
            key = key_of(block.first)
            self._ids = (block.first, decode_ids(key, self._value(b"ids", self._store.ids, block.first)))
            if len(self._ids[1]) != len(block.rows) * DIGEST_BYTES:
                raise damaged(b"ids", key, "the record has another count than the one in statuses")
        return self._ids[1]

    def digests_backward(self, before: int | None) -> Iterator[tuple[int, bytes]]:
        """Yield first numbers and digests of the blocks that start before this number, the newest first."""
        cursor = self._txn.cursor(db=self._store.ids)
        found = cursor.last() if before is None or not cursor.set_range(key_of(before)) else cursor.prev()
        while found:
            key = bytes(cursor.key())
            self._records += 1
            yield number_of(b"ids", key), decode_ids(key, bytes(cursor.value()))
            found = not self.exhausted and cursor.prev()

    def body_digests(self, head: LogHead) -> bytes:
        """Return the digests of the bodies of a record's events; b"" if these are known by their ids alone."""
        if self._bodies[0] != head.first:
            key = key_of(head.first)
            is_there = self._store.body_digests is not None
            value = self._txn.get(key, db=self._store.body_digests) if is_there else None
            found = b"" if value is None else decode_body_digests(key, bytes(value))
            if found and len(found) != head.count * DIGEST_BYTES:
                raise damaged(b"body_digests", key, "the record has another count than the one in facts")
            self._bodies = head.first, found
        return self._bodies[1]

    def body_digests_in(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield first numbers and digests of the bodies of those records that start in `start` .. `end - 1`."""
        if self._store.body_digests is None:
            return
        cursor = self._txn.cursor(db=self._store.body_digests)
        found = cursor.set_range(key_of(start))
        while found and (key := bytes(cursor.key())) < key_of(end):
            self._records += 1
            yield number_of(b"body_digests", key), decode_body_digests(key, bytes(cursor.value()))
            found = cursor.next()

    def body_digest(self, number: int) -> bytes:
        """Return the digest of the event's body; b"" if it is known by its id alone."""
        head = self.head_of(number)
        if head is None:
            return b""
        at = (number - head.first) * DIGEST_BYTES
        return self.body_digests(head)[at : at + DIGEST_BYTES]

    def digests_forward(self, start: int) -> Iterator[tuple[int, bytes]]:
        """Yield the same of the blocks from the one that holds `start` on, the oldest first; does not look at
        `exhausted`."""
        cursor = self._txn.cursor(db=self._store.ids)
        found = seek(cursor, start)
        while found:
            key = bytes(cursor.key())
            self._records += 1
            digests = decode_ids(key, bytes(cursor.value()))
            if (first := number_of(b"ids", key)) + len(digests) // DIGEST_BYTES > start:
                yield first, digests
            found = cursor.next()

    @property
    def end(self) -> int:
        """The number after the last event."""
        first, digests = next(self.digests_backward(None), (1, b""))
        return first + len(digests) // DIGEST_BYTES

    # Deliveries.

    def heads(self, start: int, end: int) -> Iterator[LogHead]:
        """Yield the heads of the log records that hold any of the numbers `start` .. `end - 1`, in order."""
        cursor = self._txn.cursor(db=self._store.facts)
        found = seek(cursor, start)
        while found:
            key = bytes(cursor.key())
            if record_key(key) == key:
                self._records += 1
                head = decode_log_head(key, cursor.value())
                if head.first >= end:
                    return
                if head.end > start:
                    yield head
            found = cursor.next()

    def head_at(self, first: int) -> LogHead:
        """Return the head of the log record that starts with this number, which is known to be there."""
        return decode_log_head(key_of(first), self._buffer(b"facts", self._store.facts, first))

    def head_of(self, number: int) -> LogHead | None:
        return next(self.heads(number, number + 1), None)

    def deliveries(self, head: LogHead, *, bodies: bool) -> NumberedDeliveries:
        """Return all deliveries of the log record with this head; kept until others are asked for.

        Bodies that have left are empty; that others are missing is damage.
        """
        first, had_bodies, found = self._unpacked
        if found is None or first != head.first or had_bodies < bodies:
            wanted = bodies and head.bodies_bytes and not self.bodies_left(head)
            packed = self.joined("bodies", head.first) if wanted else None
            facts = self.joined("facts", head.first)
            found = decode_log(key_of(head.first), facts, packed, self._decompressor, head)
            self._unpacked, self._delivery = (head.first, bodies, found), None
        return found

    def bodies_left(self, head: LogHead) -> bool:
        """Return whether there were bodies in the log record with this head, and have left."""
        return bool(head.bodies_bytes) and head.first < self.front("bodies") and not self.has_bodies(head.first)

    def has_bodies(self, first: int) -> bool:
        """Return whether the log record with this key has a value in `bodies`."""
        return self._txn.get(key_of(first), db=self._store.bodies) is not None

    def bodies_left_at(self, numbered: NumberedDeliveries) -> Sequence[int]:
        """Return by when the body of each of these deliveries of one record had left, in ms of the wall clock; 0 if it
        is there, or was never kept. Kept until others are asked for."""
        if self._left[0] is not numbered:
            self._left = numbered, self._bodies_left_at(numbered)
        return self._left[1]

    def _bodies_left_at(self, numbered: NumberedDeliveries) -> Sequence[int]:
        count = len(numbered.deliveries.counts)
        head = self.head_of(numbered.first) if numbered.first < self.front("bodies") else None
        if head is None or not self.bodies_left(head):
            return [0] * count
        place = self.deliveries(head, bodies=False).place_of(numbered.first)
        sizes = body_sizes(key_of(head.first), self.joined("facts", head.first), self._decompressor, head)
        those = zip(numbered.firsts(), sizes[place : place + count], strict=True)
        return [self.left_at("bodies", first) if size else 0 for first, size in those]

    def delivery_of(self, number: int, *, bodies: bool = False) -> NumberedDeliveries | None:
        """Return the one delivery that holds the event with this number; None if there is no such event."""
        kept = self._delivery
        if kept is not None and kept.first <= number < kept.end and self._unpacked[1] >= bodies:
            return kept
        head = self.head_of(number)
        if head is not None:
            self._delivery = self.deliveries(head, bodies=bodies).holding(number, number)
        return self._delivery if head is not None else None

    def delivery_id_of(self, number: int) -> str | None:
        """Return the id of the delivery that holds the event with this number; None if there is no such event. Each is
        looked up once: many may be duplicates of the same event."""
        if number not in self._delivery_ids:
            found = self.delivery_of(number)
            self._delivery_ids[number] = None if found is None else found.delivery_ids()[0]
        return self._delivery_ids[number]

    # Details.

    def detail(self, ref: int, number: int) -> bytes | None:
        """Return the detail of an event, as JSON, from the `results` record that its row refers to."""
        return self.results(ref).get(number)

    def has_results(self, ref: int) -> bool:
        return self._txn.get(key_of(ref), db=self._store.results) is not None

    def results(self, ref: int) -> dict[int, bytes]:
        """Return the details in one record; kept until RESULTS_KEPT others are asked for."""
        found = self._results.get(ref)
        if found is None:
            found = decode_results(key_of(ref), self._value(b"results", self._store.results, ref))
            if len(self._results) == RESULTS_KEPT:
                del self._results[next(iter(self._results))]
            self._results[ref] = found
        return found

    def results_value(self, ref: int) -> Any:
        """Return a record of `results` as it is stored: a buffer, for use inside the snapshot."""
        return self._buffer(b"results", self._store.results, ref)


class Snapshots:
    """Makes snapshots, one at a time; keeps what they share."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._decompressor = zstandard.ZstdDecompressor()

    @contextmanager
    def take(self) -> Iterator[Snapshot]:
        with self.store.read_transaction() as txn:
            snapshot = Snapshot(self.store, txn, self._decompressor)
            try:
                yield snapshot
            finally:
                snapshot.close()
