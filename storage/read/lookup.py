"""Look-ups for people and programs: events by id, events of a delivery, and dead events."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy
from numpy.typing import NDArray

from storage.codec.index_rows import fingerprint
from storage.codec.records import DIGEST_BYTES, damaged, digest, key_of
from storage.deliveries import NumberedDeliveries
from storage.delivery_id import first_of
from storage.model import EventRecord
from storage.read.paging import pending_at
from storage.read.snapshot import Block, Snapshot, Snapshots
from storage.statuses import EventStatus

PAGE_EVENTS_MAX = 65536
"""In the deliveries of a page of dead events: each record brings its whole delivery."""
RECORDS_IN_HAND_MAX = 16
"""Read at a time by find_each: each record brings its whole delivery."""

Numbers = NDArray[numpy.int64]
Statuses = NDArray[Any]


def find(snapshots: Snapshots, source_id: str, event_id: str, limit: int, *, bodies: bool = False) -> list[EventRecord]:
    """Return events of this id, see Reader. Filters by status before it unpacks: an id may have a million events."""
    processed: list[int] = []
    others: list[int] = []
    for numbers, statuses in _hits(snapshots, digest(source_id, event_id)):
        is_processed = statuses == EventStatus.PROCESSED
        processed += numbers[is_processed][: limit - len(processed)].tolist()
        others += numbers[~is_processed][: limit - len(others)].tolist()
        if len(processed) == limit:
            break
    found = _with_event_id(snapshots, (processed + others)[:limit], event_id, bodies=bodies)
    return sorted(found, key=lambda record: (record.status != EventStatus.PROCESSED, -record.number))


def find_each(
    snapshots: Snapshots, source_id: str, event_id: str, statuses: Collection[EventStatus]
) -> Iterator[EventRecord]:
    for numbers, found in _hits(snapshots, digest(source_id, event_id)):
        wanted = numbers[numpy.isin(found, list(statuses))].tolist()
        for at in range(0, len(wanted), RECORDS_IN_HAND_MAX):
            records = list(_with_event_id(snapshots, wanted[at : at + RECORDS_IN_HAND_MAX], event_id))
            yield from (record for record in reversed(records) if record.status in statuses)


def _hits(snapshots: Snapshots, wanted: bytes) -> Iterator[tuple[Numbers, Statuses]]:
    """Yield numbers and statuses of events with this digest, block by block, newest first. No snapshot stays open."""
    before: int | None = None
    more = True
    while more:
        hits: list[tuple[Numbers, Statuses]] = []
        with snapshots.take() as snapshot:
            before = _add_hits(snapshot, wanted, snapshot.end if before is None else before, hits)
            more = before > 0
        yield from hits


def _add_hits(snapshot: Snapshot, wanted: bytes, before: int, hits: list[tuple[Numbers, Statuses]]) -> int:
    """Add hits until the snapshot is exhausted; return the number to go on before, 0 at the begin of the store."""
    for stretch in snapshot.index.with_ids([fingerprint(wanted)], 1, before):
        for first, digests in snapshot.digests_backward(stretch.stop):
            places = numpy.array([*places_of(digests, wanted)][::-1], "i8")
            places = places[(places >= stretch.start - first) & (places < stretch.stop - first)]
            if len(places):
                hits.append((places + first, _statuses(snapshot, first)[places]))
            if snapshot.exhausted:
                return max(first, stretch.start)
            if first <= stretch.start:
                break
    return 0


def processed(
    snapshots: Snapshots, wanted: Collection[bytes], before: int | None
) -> tuple[dict[bytes, int], int | None]:
    """Return numbers of processed events with these digests, and the block to go on before, see Reader."""
    found: dict[bytes, int] = {}
    fingerprints = numpy.sort(numpy.frombuffer(b"".join(wanted), "<u8")[::2])
    with snapshots.take() as snapshot:
        for block, digests in snapshot.digests_backward(before):
            before = block
            by_body = snapshot.body_digests_in(block, block + len(digests) // DIGEST_BYTES)
            for first, packed in chain([(block, digests)], by_body):
                for place in _candidates(packed, fingerprints):
                    each = packed[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
                    if each in wanted and _statuses(snapshot, block)[first - block + place] == EventStatus.PROCESSED:
                        found[each] = first + place
        return found, before if snapshot.exhausted else None


def _candidates(digests: bytes, fingerprints: NDArray[numpy.uint64]) -> list[int]:
    """Return the places of digests that begin as one of these sorted fingerprints."""
    own = numpy.frombuffer(digests, "<u8")[::2]
    places = numpy.minimum(fingerprints.searchsorted(own), len(fingerprints) - 1)
    return numpy.flatnonzero(fingerprints[places] == own).tolist()


def _statuses(snapshot: Snapshot, first: int) -> Statuses:
    block = snapshot.block_of(first)
    if block is None:
        raise damaged(b"statuses", key_of(first), "there is no such record")
    return block.rows["status"]


def _with_event_id(
    snapshots: Snapshots, numbers: list[int], event_id: str, *, bodies: bool = False
) -> Iterator[EventRecord]:
    """Yield the events whose id is really this one: equal digests are no proof."""
    found = _events(snapshots, numbers, bodies=bodies)
    return (record for record in found if record.numbered.event_id(record.position) == event_id)


def delivery(snapshots: Snapshots, delivery_id: str) -> list[EventRecord] | None:
    first = first_of(delivery_id)
    if first is None:
        return None
    with snapshots.take() as snapshot:
        numbered = snapshot.delivery_of(first)
        block = snapshot.block_of(first)
        if numbered is None or block is None or numbered.delivery_ids() != [delivery_id]:
            return None
        return [event_record(snapshot, block, numbered, number) for number in range(numbered.first, numbered.end)]


def left_at(snapshots: Snapshots, delivery_id: str) -> int:
    first = first_of(delivery_id)
    if first is None:
        return 0
    with snapshots.take() as snapshot:
        is_there = snapshot.block_of(first) is not None
        return 0 if is_there else snapshot.left_at("receipts", first)


def dead(snapshots: Snapshots, source_id: str | None, after: int, limit: int) -> list[EventRecord]:
    page = _DeadPage(limit)
    start: int | None = after + 1
    while start is not None and not page.full:
        with snapshots.take() as snapshot:
            start = _collect_dead(snapshot, source_id, start, page)
    return page.records


def dead_numbers(snapshots: Snapshots, source_id: str, after: int, limit: int) -> list[int]:
    found: list[int] = []
    for snapshot, block, numbers in _dead_blocks(snapshots, after + 1):
        for dead_ones in pending_at(snapshot, block, numbers, source_id):
            if not snapshot.bodies_left(dead_ones.head):
                found += dead_ones.numbers
        if len(found) >= limit:
            break
    return found


def dead_of(snapshots: Snapshots, source_id: str, event_ids: Iterable[str]) -> dict[str, list[int]]:
    by_digest = {digest(source_id, event_id): event_id for event_id in event_ids}
    hits = []
    for snapshot, block, numbers in _dead_blocks(snapshots, 0):
        digests = snapshot.digests(block)
        for number in numbers:
            at = (number - block.first) * DIGEST_BYTES
            if digests[at : at + DIGEST_BYTES] in by_digest:
                hits.append(number)
    found: dict[str, list[int]] = {event_id: [] for event_id in by_digest.values()}
    for record in _events(snapshots, hits, bodies=False):
        event_id = record.numbered.event_id(record.position)
        is_kept = record.status is EventStatus.DEAD and not record.left_at_ms
        if is_kept and event_id in found:  # equal digests are no proof
            found[event_id].append(record.number)
    return found


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
                page.add(event_record(snapshot, block, _delivery(snapshot, number), number))
        if snapshot.exhausted:
            return block.end
    return None


def places_of(digests: bytes, wanted: bytes) -> Iterator[int]:
    """Yield the indexes of the digest; a match across two neighbours is not one."""
    at = digests.find(wanted)
    while at >= 0:
        if at % DIGEST_BYTES == 0:
            yield at // DIGEST_BYTES
        at = digests.find(wanted, at + 1)


def _events(snapshots: Snapshots, numbers: list[int], *, bodies: bool) -> Iterator[EventRecord]:
    left = sorted(numbers)
    while left:
        with snapshots.take() as snapshot:
            while left and not snapshot.exhausted:
                number = left.pop(0)
                block = snapshot.block_of(number)
                if block is None and number < snapshot.front("receipts"):
                    continue
                if block is None:
                    raise damaged(b"statuses", key_of(number), "there is no such event")
                yield event_record(snapshot, block, _delivery(snapshot, number, bodies=bodies), number)


def _delivery(snapshot: Snapshot, number: int, *, bodies: bool = False) -> NumberedDeliveries:
    found = snapshot.delivery_of(number, bodies=bodies)
    if found is None:
        raise damaged(b"facts", key_of(number), "there is no such event")
    return found


def event_record(snapshot: Snapshot, block: Block, numbered: NumberedDeliveries, number: int) -> EventRecord:
    """Return what the store knows of an event of this block and delivery."""
    row = block.rows[number - block.first]
    status = EventStatus(int(row["status"]))
    ref = int(row["ref"])
    original = snapshot.delivery_of(number - ref) if status == EventStatus.DUPLICATE and ref != number else None
    return EventRecord(
        numbered=numbered,
        position=number - numbered.first,
        status=status,
        attempts=int(row["attempts"]),
        at_ms=int(row["at_ms"]),
        duplicate_of=original.delivery_ids()[0] if original else None,
        detail=_detail(snapshot, ref, number, status) if ref and status != EventStatus.DUPLICATE else {},
        left_at_ms=snapshot.body_left_at(numbered),
    )


def _detail(snapshot: Snapshot, ref: int, number: int, status: EventStatus) -> Mapping[str, object]:
    may_have_left = status is EventStatus.PROCESSED and number < snapshot.front("bodies")
    detail = None if may_have_left and not snapshot.has_results(ref) else snapshot.detail(ref, number)
    if detail is None and may_have_left:
        return {}
    if detail is None:
        raise damaged(b"results", key_of(ref), f"the event {number} is not in it")
    try:
        found = json.loads(detail)  # and not orjson, which makes floats of large integers
    except ValueError as error:
        raise damaged(b"results", key_of(ref), f"the detail of the event {number} is not JSON") from error
    return found if isinstance(found, dict) else {"result": found}
