"""Look-ups of dead events: listed, counted by the kind of their errors, and found to be given back or discarded.

Dead are those that can be given back: neither discarded nor without the bodies, which have left.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy

from storage.codec.records import DIGEST_BYTES, SAME_BYTES, digest
from storage.frozen import frozen
from storage.history import DeadEvent
from storage.model import EventRecord
from storage.read.lookup import delivery_of, detail_of, event_records, events_of, history
from storage.read.paging import pending_at
from storage.read.snapshot import Block, Snapshot, Snapshots
from storage.statuses import EventStatus

PAGE_EVENTS_MAX = 65536
"""In the deliveries of a page of dead events: each record brings its whole delivery."""


@dataclass(frozen=True, slots=True)
class DeadFilter:
    """Which dead events are meant."""

    since_ms: int = 0
    """Those that died then or later, by the wall clock."""
    error: str = ""
    """Those whose error has this text in it, as it is written."""

    def takes(self, event: DeadEvent) -> bool:
        """Return whether this one is."""
        return event.at_ms >= self.since_ms and self.error in event.error


ALL_DEAD = DeadFilter()


@frozen
class DeadQuery:
    """Which dead events of a source a command is about."""

    event_ids: Sequence[str] | None = None
    """Those with these ids; None: all that the rest says."""
    where: DeadFilter = ALL_DEAD
    limit: int | None = None
    """At most so many, the first that came."""


def dead(snapshots: Snapshots, source_id: str | None, after: int, limit: int) -> list[EventRecord]:
    page = _DeadPage(limit)
    start: int | None = after + 1
    while start is not None and not page.full:
        with snapshots.take() as snapshot:
            start = _collect_dead(snapshot, source_id, start, page)
    return page.records


def dead_numbers(snapshots: Snapshots, source_id: str, after: int, limit: int, wanted: DeadFilter) -> list[int]:
    found: list[int] = []
    for snapshot, block, numbers in _dead_blocks(snapshots, after + 1):
        for numbers_here, owner in _listed(snapshot, block, numbers, source_id):
            found += [
                number
                for number in numbers_here
                if wanted == ALL_DEAD or wanted.takes(_dead_event(snapshot, block, number, owner))
            ]
        if len(found) >= limit:
            break
    return found


def dead_events(snapshots: Snapshots, numbers: Sequence[int]) -> list[DeadEvent]:
    found: list[DeadEvent] = []
    left = list(numbers)
    while left:
        with snapshots.take() as snapshot:
            block: Block | None = None
            while left and not snapshot.exhausted:
                number = left.pop(0)
                if block is None or not block.first <= number < block.end:
                    block = snapshot.block_of(number)
                if block is not None and block.rows["status"][number - block.first] == EventStatus.DEAD:
                    found.append(_dead_event(snapshot, block, number, ""))
    return found


def dead_page(snapshots: Snapshots, source_id: str | None, start: int) -> tuple[list[DeadEvent], int | None]:
    found: list[DeadEvent] = []
    with snapshots.take() as snapshot:
        for block in snapshot.blocks(start):
            numbers = (numpy.flatnonzero(block.rows["status"] == EventStatus.DEAD) + block.first).tolist()
            for numbers_here, owner in _listed(snapshot, block, numbers, source_id) if numbers else ():
                found += [_dead_event(snapshot, block, number, owner) for number in numbers_here]
            if snapshot.exhausted:
                return found, block.end
    return found, None


def dead_of(snapshots: Snapshots, source_id: str, event_ids: Iterable[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {event_id: [] for event_id in event_ids}
    begins = {digest(source_id, event_id)[:SAME_BYTES] for event_id in found}
    hits = []
    for snapshot, block, numbers in _dead_blocks(snapshots, 0):
        digests = snapshot.digests(block)
        for number in numbers:
            at = (number - block.first) * DIGEST_BYTES
            if digests[at : at + SAME_BYTES] in begins:
                hits.append(number)
    for record in events_of(snapshots, hits, bodies=False):
        event_id = record.numbered.event_id(record.position)
        is_kept = record.status is EventStatus.DEAD and not record.left_at_ms
        is_own = record.numbered.source_id == source_id
        if is_kept and is_own and event_id in found:  # digests that begin alike are no proof
            found[event_id].append(record.number)
    return found


def _dead_event(snapshot: Snapshot, block: Block, number: int, source_id: str) -> DeadEvent:
    row = block.rows[number - block.first]
    ref = int(row["ref"])
    detail = detail_of(snapshot, ref, number, EventStatus.DEAD) if ref else {}
    error = detail.get("error")
    return DeadEvent(
        number=number,
        source_id=source_id,
        attempts=int(row["attempts"]),
        at_ms=int(row["at_ms"]),
        error=error if isinstance(error, str) else "",
        history=history(snapshot, int(row["history"]), number),
    )


def _listed(
    snapshot: Snapshot, block: Block, numbers: list[int], source_id: str | None
) -> Iterator[tuple[Sequence[int], str]]:
    """Yield those of the dead events of a block that can be given back, record by record, with their source."""
    for found in pending_at(snapshot, block, numbers, source_id):
        if not snapshot.bodies_left(found.head):
            yield found.numbers, found.head.source_id


def _dead_blocks(snapshots: Snapshots, start: int) -> Iterator[tuple[Snapshot, Block, list[int]]]:
    """Yield the numbers of the dead events in each block that has any, from `start` on, while its snapshot is open."""
    end: int | None = start
    while end is not None:
        with snapshots.take() as snapshot:
            start, end = end, None
            for block in snapshot.blocks(start):
                numbers = numpy.flatnonzero(block.rows["status"] == EventStatus.DEAD) + block.first
                numbers = numbers[numbers >= start]
                if len(numbers):
                    yield snapshot, block, numbers.tolist()
                if snapshot.exhausted:
                    end = block.end
                    break


class _DeadPage:
    """Records until there are enough, or their deliveries use up the memory for a page."""

    def __init__(self, limit: int) -> None:
        self.records: list[EventRecord] = []
        self._limit = limit
        self._events = 0

    def add(self, record: EventRecord) -> None:
        if not self.records or self.records[-1].numbered is not record.numbered:
            self._events += record.numbered.count
        self.records.append(record)

    @property
    def full(self) -> bool:
        return len(self.records) >= self._limit or self._events >= PAGE_EVENTS_MAX


def _collect_dead(snapshot: Snapshot, source_id: str | None, start: int, page: _DeadPage) -> int | None:
    """Add dead events to the page; return the number to go on from, None at the end of the store."""
    for block in snapshot.blocks(start):
        for number in (numpy.flatnonzero(block.rows["status"] == EventStatus.DEAD) + block.first).tolist():
            if number < start:
                continue
            if page.full or snapshot.exhausted:
                return int(number)
            head = snapshot.head_of(number)
            if head and source_id in (None, head.source_id) and not snapshot.bodies_left(head):
                [record] = event_records(snapshot, block, delivery_of(snapshot, number), [number])
                page.add(record)
        if snapshot.exhausted:
            return block.end
    return None
