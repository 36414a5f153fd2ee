"""All reading from the store, in short transactions. Results are copies that the caller owns.

For one thread at a time; a process may have many readers, each on its own thread. Every record read is checked:
StoreDamaged names the database and the key.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy
from numpy.typing import NDArray

from storage.codec.records import DIGEST_BYTES
from storage.codec.status_rows import Rows, is_pending
from storage.deliveries import NumberedDeliveries
from storage.history import DeadEvent
from storage.lmdb_store.environment import Store
from storage.model import EventRecord, Page, Span
from storage.read import dead, lookup
from storage.read.dead import ALL_DEAD, DeadFilter
from storage.read.paging import PageBuilder, pending_at, pending_in, received_at
from storage.read.processed import Processed, processed_since
from storage.read.query import EventQuery
from storage.read.replays import Replay, decode_replay
from storage.read.scan import PAGE_EVENTS_MAX, PAGE_LOOKS_MAX, Build, EventPage, select
from storage.read.snapshot import Snapshot, Snapshots
from storage.read.usage import Usage, usage
from storage.statuses import PENDING_STATUSES, EventStatus, Totals

ON_ITS_WAY = sys.maxsize
"""When an event was processed whose outcome is not in the store yet: later than all that is there."""


class Reader:
    """Reads from an open store."""

    def __init__(self, store: Store) -> None:
        self._snapshots = Snapshots(store)

    # Pending events.

    def page(
        self, source_id: str, start: int, end: int, *, events_max: int, bytes_max: int, bodies: bool = True
    ) -> Page:
        """Return pending events of a source with `start` ≤ number < `end`, in order.

        A page holds whole deliveries and ends before the one that would exceed `events_max` or `bytes_max` (of bodies),
        but has at least one if any is pending. The scan is bounded, so a page may be empty while there is more: read on
        from `page.next` until that is `end`. Without bodies `events_max` is exact, and a span may hold events of
        several deliveries; it has no `numbered`, and the received_at of the first.
        """
        builder = PageBuilder(events_max, bytes_max, bodies)
        with self._snapshots.take() as snapshot:
            reached = start
            for block in snapshot.blocks(start):
                for pending in pending_in(snapshot, block, start, end, source_id):
                    builder.add(snapshot, pending)
                    if builder.stopped_at is not None:
                        return Page(builder.spans, builder.stopped_at)
                reached = block.end
                if reached >= end:
                    break
            return Page(builder.spans, min(reached, end) if snapshot.exhausted else end)

    def spans(self, numbers: Sequence[int], *, bodies: bool = True, bytes_max: int = sys.maxsize) -> list[Span]:
        """Return those of these events that are pending, in order of their numbers, up to the delivery that would
        exceed `bytes_max` (of bodies); at least one if any is pending."""
        builder = PageBuilder(sys.maxsize, bytes_max, bodies)
        left = sorted(set(numbers))
        while left:
            with self._snapshots.take() as snapshot:
                while left and not snapshot.exhausted:
                    left = _add_block(snapshot, left, builder)
        return builder.spans

    def received_at(self, source_id: str, start: int) -> int | None:
        """Return when the source's first pending event from `start` on was received, in ms; the scan is bounded."""
        with self._snapshots.take() as snapshot:
            for block in snapshot.blocks(start):
                for pending in pending_in(snapshot, block, start, block.end, source_id):
                    return received_at(snapshot, pending)
        return None

    def skipped(self, oldest: Mapping[str, int]) -> list[Span]:
        """Return, for each source, its first pending event before the number given for it, if any; without its body.

        Reads the statuses of all events before the greatest of these numbers.
        """
        found: dict[str, Span] = {}
        start, end = 0, max(oldest.values(), default=0)
        while start < end:
            with self._snapshots.take() as snapshot:
                start = _find_skipped(snapshot, start, end, oldest, found)
        return list(found.values())

    # Deduplication.

    def processed_at(self, pairs: Sequence[tuple[bytes, int]]) -> list[int | None]:
        """Return, for each (digest, number) of the index, when the event was processed, by the store's time; None if it
        has this digest neither of its id nor of its body. An outcome that is still on its way is ON_ITS_WAY."""
        verdicts: list[int | None] = [None] * len(pairs)
        order = sorted(range(len(pairs)), key=lambda at: pairs[at][1])
        while order:
            with self._snapshots.take() as snapshot:
                while order and not snapshot.exhausted:
                    order = _confirm_block(snapshot, pairs, order, verdicts)
        return verdicts

    def processed(self, wanted: Collection[bytes], before: int | None = None) -> tuple[dict[bytes, int], int | None]:
        """Return the number of a processed event for those of these digests that have one, however long ago; looking
        backward from the block that starts before this number (None: from the end of the store). The scan is bounded:
        with it comes the number to go on before, None at the begin of the store."""
        return lookup.processed(self._snapshots, wanted, before)

    def waits_since(self, start: int) -> tuple[int, int | None]:
        """Return the number of the first event from `start` on that has been pending since its receipt, and when that
        was, by the store's time; the end of the store and None if there is none.

        The time of every later one is not before it. Requeued events are passed over, for good: no other event becomes
        pending again, so whoever asks again begins at the number.
        """
        while True:
            with self._snapshots.take() as snapshot:
                for block in snapshot.blocks(start):
                    places = _waiting(block.rows)
                    places = places[places >= start - block.first]
                    if len(places):
                        return block.first + int(places[0]), int(block.rows["store_ms"][places[0]])
                    start = block.end
                if not snapshot.exhausted:
                    return start, None

    def count_processed(self, after_ms: int, until_ms: int) -> int:
        """Return how many events were processed after the one and until the other, by the store's time. Reads the
        statuses of all events."""
        count, start = 0, 0
        while True:
            with self._snapshots.take() as snapshot:
                for block in snapshot.blocks(start):
                    rows = block.rows
                    times = rows["store_ms"][rows["status"] == EventStatus.PROCESSED]
                    count += int(((times > after_ms) & (times <= until_ms)).sum())
                    start = block.end
                if not snapshot.exhausted:
                    return count

    def processed_since(self, store_ms: int) -> Iterator[Processed]:
        """Yield all events processed after this, by the store's time, in chunks, in order of their numbers; those that
        are known by their bodies too come twice, once with either digest. No transaction is open between chunks; what
        is processed meanwhile may be missing."""
        return processed_since(self._snapshots, store_ms)

    # Look-ups.

    def find(self, source_id: str, event_id: str, limit: int = 100, *, bodies: bool = False) -> list[EventRecord]:
        """Return events of this id, at most `limit`: processed ones first, then the newest first. The bodies of their
        deliveries are empty unless `bodies`."""
        return lookup.find(self._snapshots, source_id, event_id, limit, bodies=bodies)

    def find_each(
        self, source_id: str, event_id: str, statuses: Collection[EventStatus] = tuple(EventStatus)
    ) -> Iterator[EventRecord]:
        """Yield all events of this id with these statuses, newest first, read a few at a time."""
        return lookup.find_each(self._snapshots, source_id, event_id, statuses)

    def select(
        self,
        query: EventQuery,
        *,
        build: Build | None = None,
        bodies: bool = False,
        events_max: int = PAGE_EVENTS_MAX,
        looks_max: int = PAGE_LOOKS_MAX,
        known: Sequence[NumberedDeliveries] = (),
    ) -> EventPage:
        """Return the next page of what a query describes. `build` builds events for its `where`; the bodies of their
        deliveries are empty unless `bodies`. `known`: deliveries of the store that are at hand, with their bodies; each
        follows the one before."""
        return select(
            self._snapshots, query, build=build, bodies=bodies, events_max=events_max, looks_max=looks_max, known=known
        )

    def delivery(self, delivery_id: str) -> list[EventRecord] | None:
        """Return all events of a delivery, in order; None if there is no such delivery."""
        return lookup.delivery(self._snapshots, delivery_id)

    def source_of(self, delivery_id: str) -> str | None:
        """Return the source of the delivery that would have this id; None if there is none."""
        return lookup.source_of(self._snapshots, delivery_id)

    def left_at(self, delivery_id: str) -> int:
        """Return by when the delivery of this id, if there ever was one, had left with its receipts, in ms of the wall
        clock; 0 if it has not."""
        return lookup.left_at(self._snapshots, delivery_id)

    def dead(self, source_id: str | None, after: int = 0, limit: int = 1000) -> list[EventRecord]:
        """Return dead events with number > `after`, in order; of all sources if `source_id` is None. At most `limit`,
        fewer if their deliveries are large. Those whose bodies have left are dead for good, and are not among them.

        An empty list means that there are no more; else read on after the last one's number.
        """
        return dead.dead(self._snapshots, source_id, after, limit)

    def dead_numbers(self, source_id: str, after: int, limit: int, wanted: DeadFilter = ALL_DEAD) -> list[int]:
        """Return the numbers of dead events of the source, from the first > `after` on, in order; at least `limit` if
        there are so many, and at most those of a block more."""
        return dead.dead_numbers(self._snapshots, source_id, after, limit, wanted)

    def dead_events(self, numbers: Sequence[int]) -> list[DeadEvent]:
        """Return what is known of those of these events that are dead, in the same order."""
        return dead.dead_events(self._snapshots, numbers)

    def dead_page(self, source_id: str | None, start: int) -> tuple[list[DeadEvent], int | None]:
        """Return the dead events of a bounded stretch of the log from this number on, and the number to go on from;
        None at its end."""
        return dead.dead_page(self._snapshots, source_id, start)

    def dead_of(self, source_id: str, event_ids: Iterable[str]) -> dict[str, list[int]]:
        """Return the numbers of the dead events of each of these ids. Reads the statuses of all events once."""
        return dead.dead_of(self._snapshots, source_id, event_ids)

    def end(self) -> int:
        """Return the number after the last event in the store."""
        with self._snapshots.take() as snapshot:
            return snapshot.end

    def usage(self, now_ms: int) -> Usage:
        """Return what the store holds and what came lately; now by the wall clock."""
        return usage(self._snapshots, now_ms)

    def replays(self) -> list[Replay]:
        """Return every replay on record, the first that was asked for first."""
        with self._snapshots.take() as snapshot:
            stored = snapshot.replays()
        return sorted(map(decode_replay, stored, stored.values()), key=lambda replay: (replay.started_at_ms, replay.id))

    def totals(self) -> dict[str, Totals]:
        """Return the totals of every source, all from one commit."""
        with self._snapshots.take() as snapshot:
            return snapshot.totals()


def _find_skipped(snapshot: Snapshot, start: int, end: int, oldest: Mapping[str, int], found: dict[str, Span]) -> int:
    """Add the first skipped event of each source to `found`; return the number to go on from."""
    for block in snapshot.blocks(start):
        for pending in pending_in(snapshot, block, start, end):
            source_id = pending.head.source_id
            if source_id not in found and pending.numbers[0] < oldest.get(source_id, 0):
                builder = PageBuilder(1, 0, bodies=False)
                builder.add(snapshot, pending)
                found[source_id] = builder.spans[0]
        if snapshot.exhausted:
            return block.end
    return end


def _add_block(snapshot: Snapshot, numbers: list[int], builder: PageBuilder) -> list[int]:
    """Add the spans of the first block that holds any of the numbers; return the numbers after it, if they may fit."""
    block = snapshot.block_of(numbers[0])
    if block is None:
        return numbers[1:]
    mine = [number for number in numbers if number < block.end]
    waits = [number for number in mine if block.rows["status"][number - block.first] in PENDING_STATUSES]
    if waits:
        for pending in pending_at(snapshot, block, waits):
            builder.add(snapshot, pending)
            if builder.stopped_at is not None:
                return []
    return numbers[len(mine) :]


def _confirm_block(
    snapshot: Snapshot, pairs: Sequence[tuple[bytes, int]], order: list[int], verdicts: list[int | None]
) -> list[int]:
    """Check the pairs in the first block that holds any; return the positions of those after it."""
    block = snapshot.block_of(pairs[order[0]][1])
    if block is None:
        return order[1:]
    digests, rows = snapshot.digests(block), block.rows
    done = 0
    for place in order:
        digest, number = pairs[place]
        if number >= block.end:
            break
        at = number - block.first
        if digests[at * DIGEST_BYTES : (at + 1) * DIGEST_BYTES] == digest or snapshot.body_digest(number) == digest:
            is_written = rows["status"][at] == EventStatus.PROCESSED
            verdicts[place] = int(rows["store_ms"][at]) if is_written else ON_ITS_WAY
        done += 1
    return order[done:]


def _waiting(rows: Rows) -> NDArray[numpy.intp]:
    """Return the places of what is pending since its receipt."""
    return numpy.flatnonzero(is_pending(rows["status"]) & (rows["store_ms"] > 0))
