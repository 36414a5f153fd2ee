"""Everything that is read from the store, in short transactions. What comes back is the caller's own.

Used by one thread at a time; a process may have many readers, each on a thread of its own. Every record that is read
is checked: StoreDamaged names the database and the key.
"""

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from storage.codec.records import DIGEST_BYTES
from storage.lmdb_store.environment import Store
from storage.model import EventRecord, Page, Span
from storage.read import lookup
from storage.read.paging import Taking, pending_in, received_at, waiting_at
from storage.read.snapshot import Snapshot, Snapshots
from storage.statuses import PENDING_STATUSES, EventStatus, Totals

PROCESSED_EVENTS_MAX = 1 << 17
"""A chunk of `processed_since` ends with the block that reaches it: 3 MB, and what one block may have."""
_DIGEST = f"V{DIGEST_BYTES}"


class Processed(NamedTuple):
    """Processed events, for the deduplication index."""

    digests: bytes
    """16 bytes an event."""
    numbers: NDArray[numpy.uint64]
    at_ms: int
    """When the last of them was processed."""


class Reader:
    """Reads from an open store."""

    def __init__(self, store: Store) -> None:
        self._snapshots = Snapshots(store)

    # What waits.

    def feed(
        self, source_id: str, start: int, end: int, *, events_max: int, bytes_max: int, bodies: bool = True
    ) -> Page:
        """Pending events of a source with `start` ≤ number < `end`, in order.

        Deliveries are taken whole: the page ends before the one that would go beyond `events_max` or `bytes_max` (of
        bodies), but has at least one where anything waits. The walk is bounded, so a page may be empty while there is
        more: read on from `page.next`, until that is `end`. Without bodies `events_max` is exact, a span may hold
        events of several deliveries, has no `numbered`, and the received_at of the first of them.
        """
        taking = Taking(events_max, bytes_max, bodies)
        with self._snapshots.take() as snapshot:
            reached = start
            for block in snapshot.blocks(start):
                for waiting in pending_in(snapshot, block, start, end, source_id):
                    taking.take(snapshot, waiting)
                    if taking.stopped_at is not None:
                        return Page(taking.spans, taking.stopped_at)
                reached = block.end
                if reached >= end:
                    break
            return Page(taking.spans, min(reached, end) if snapshot.exhausted else end)

    def spans(self, numbers: Sequence[int], *, bodies: bool = True) -> list[Span]:
        """Those of these events that are pending, in order of their numbers."""
        taking = Taking(sys.maxsize, sys.maxsize, bodies)
        left = sorted(set(numbers))
        while left:
            with self._snapshots.take() as snapshot:
                while left and not snapshot.exhausted:
                    left = _take_block(snapshot, left, taking)
        return taking.spans

    def received_at(self, source_id: str, start: int) -> int | None:
        """When the first pending event of the source at `start` or later came, in ms; the walk is bounded."""
        with self._snapshots.take() as snapshot:
            for block in snapshot.blocks(start):
                for waiting in pending_in(snapshot, block, start, block.end, source_id):
                    return received_at(snapshot, waiting)
        return None

    def passed_over(self, oldest: Mapping[str, int]) -> list[Span]:
        """For each source the first event that waits before the number given for it, if one does; without its body.

        Reads the statuses of everything before the greatest of these numbers.
        """
        found: dict[str, Span] = {}
        start, end = 0, max(oldest.values(), default=0)
        while start < end:
            with self._snapshots.take() as snapshot:
                start = _look_for_passed_over(snapshot, start, end, oldest, found)
        return list(found.values())

    # Deduplication.

    def confirm(self, pairs: Sequence[tuple[bytes, int]]) -> list[bool]:
        """For each (digest, number): whether the event with this number has this digest."""
        verdicts = [False] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda at: pairs[at][1])
        while order:
            with self._snapshots.take() as snapshot:
                while order and not snapshot.exhausted:
                    order = _confirm_block(snapshot, pairs, order, verdicts)
        return verdicts

    def processed_since(self, at_ms: int) -> Iterator[Processed]:
        """All events processed at `at_ms` or later, in chunks, in order of their numbers. No transaction is open
        while the caller has a chunk in hand; what becomes processed meanwhile may be missing."""
        start: int | None = 0
        while start is not None:
            chunks: list[Processed] = []
            with self._snapshots.take() as snapshot:
                start = _collect_processed(snapshot, start, at_ms, chunks)
            if chunks:
                yield Processed(
                    b"".join(chunk.digests for chunk in chunks),
                    numpy.concatenate([chunk.numbers for chunk in chunks]),
                    max(chunk.at_ms for chunk in chunks),
                )

    # Look-ups.

    def find(self, source_id: str, event_id: str, limit: int = 100, *, bodies: bool = False) -> list[EventRecord]:
        """Events of this id, at most `limit`: the processed ones first, then the newest first. The bodies of their
        deliveries are empty unless asked for."""
        return lookup.find(self._snapshots, source_id, event_id, limit, bodies=bodies)

    def find_each(
        self, source_id: str, event_id: str, statuses: Collection[EventStatus] = tuple(EventStatus)
    ) -> Iterator[EventRecord]:
        """All events of this id and these statuses, the newest first, read a few at a time."""
        return lookup.find_each(self._snapshots, source_id, event_id, statuses)

    def delivery(self, delivery_id: str) -> list[EventRecord] | None:
        """All events of a delivery, in order; None where there is none of this id."""
        return lookup.delivery(self._snapshots, delivery_id)

    def dead(self, source_id: str | None, after: int = 0, limit: int = 1000) -> list[EventRecord]:
        """Dead events with number > `after`, at most `limit`, in order; of all sources where `source_id` is None.
        Fewer where their deliveries are large.

        An empty list: there are no more. Otherwise read on after the last one's number.
        """
        return lookup.dead(self._snapshots, source_id, after, limit)

    def totals(self) -> dict[str, Totals]:
        """The totals of every source, all from one commit."""
        with self._snapshots.take() as snapshot:
            return snapshot.totals()


def _look_for_passed_over(
    snapshot: Snapshot, start: int, end: int, oldest: Mapping[str, int], found: dict[str, Span]
) -> int:
    """The number to go on from."""
    for block in snapshot.blocks(start):
        for waiting in pending_in(snapshot, block, start, end):
            source_id = waiting.head.source_id
            if source_id not in found and waiting.numbers[0] < oldest.get(source_id, 0):
                taking = Taking(1, 0, bodies=False)
                taking.take(snapshot, waiting)
                found[source_id] = taking.spans[0]
        if snapshot.exhausted:
            return block.end
    return end


def _take_block(snapshot: Snapshot, numbers: list[int], taking: Taking) -> list[int]:
    """Take the spans of the first block that the numbers touch; returns the numbers behind it."""
    block = snapshot.block_of(numbers[0])
    if block is None:
        return numbers[1:]
    mine = [number for number in numbers if number < block.end]
    waits = [number for number in mine if block.rows["status"][number - block.first] in PENDING_STATUSES]
    if waits:
        for waiting in waiting_at(snapshot, block, waits):
            taking.take(snapshot, waiting)
    return numbers[len(mine) :]


def _confirm_block(
    snapshot: Snapshot, pairs: Sequence[tuple[bytes, int]], order: list[int], verdicts: list[bool]
) -> list[int]:
    """Judge the pairs of the first block that they touch; returns the places of those behind it."""
    block = snapshot.block_of(pairs[order[0]][1])
    if block is None:
        return order[1:]
    digests = snapshot.digests(block)
    done = 0
    for place in order:
        digest, number = pairs[place]
        if number >= block.end:
            break
        at = (number - block.first) * DIGEST_BYTES
        verdicts[place] = digests[at : at + DIGEST_BYTES] == digest
        done += 1
    return order[done:]


def _collect_processed(snapshot: Snapshot, start: int, at_ms: int, chunks: list[Processed]) -> int | None:
    """The number to go on from; None at the end of the store."""
    count = 0
    for block in snapshot.blocks(start):
        rows = block.rows
        places = numpy.flatnonzero((rows["status"] == EventStatus.PROCESSED) & (rows["at_ms"] >= at_ms))
        if len(places):
            digests = numpy.frombuffer(snapshot.digests(block), _DIGEST)[places].tobytes()
            numbers = (places + block.first).astype(numpy.uint64)
            chunks.append(Processed(digests, numbers, int(rows["at_ms"][places].max())))
            count += len(numbers)
        if snapshot.exhausted or count >= PROCESSED_EVENTS_MAX:
            return block.end
    return None
