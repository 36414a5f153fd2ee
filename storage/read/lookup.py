"""Look-ups for people and programs: events by id, and events of a delivery."""

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy
from numpy.typing import NDArray

from storage.codec.index_rows import fingerprint
from storage.codec.records import DIGEST_BYTES, SAME_BYTES, damaged, digest, key_of, replay_digest
from storage.deliveries import NumberedDeliveries
from storage.delivery_id import first_of
from storage.history import Turn, decode_history
from storage.model import EventRecord
from storage.read.snapshot import Block, Snapshot, Snapshots
from storage.statuses import EventStatus

RECORDS_IN_HAND_MAX = 16
"""Read at a time by find_each: each record brings its whole delivery."""

Numbers = NDArray[numpy.int64]
Statuses = NDArray[Any]
Hits = tuple[Numbers, Statuses, NDArray[numpy.bool_]]
"""Numbers, statuses, and which of them came and are not replayed."""


def find(snapshots: Snapshots, source_id: str, event_id: str, limit: int, *, bodies: bool = False) -> list[EventRecord]:
    """Return events of this id, see Reader. Filters by status before it unpacks: an id may have a million events."""
    processed: list[int] = []
    others: list[int] = []
    replayed: list[int] = []
    for numbers, statuses, came in hits(snapshots, digest(source_id, event_id)):
        is_processed = statuses == EventStatus.PROCESSED
        processed += numbers[is_processed & came][: limit - len(processed)].tolist()
        others += numbers[~is_processed & came][: limit - len(others)].tolist()
        replayed += numbers[~came][: limit - len(replayed)].tolist()
        if len(processed) == limit:
            break
    found = _with_event_id(snapshots, (processed + others + replayed)[:limit], event_id, bodies=bodies)
    return sorted(found, key=_rank)


def _rank(record: EventRecord) -> tuple[bool, bool, int]:
    """Return by what `find` orders events of one id: those that came before their replays."""
    return bool(record.numbered.deliveries.replay_of), record.status != EventStatus.PROCESSED, -record.number


def find_each(
    snapshots: Snapshots, source_id: str, event_id: str, statuses: Collection[EventStatus]
) -> Iterator[EventRecord]:
    for numbers, found, _ in hits(snapshots, digest(source_id, event_id)):
        wanted = numbers[numpy.isin(found, list(statuses))].tolist()
        for at in range(0, len(wanted), RECORDS_IN_HAND_MAX):
            records = list(_with_event_id(snapshots, wanted[at : at + RECORDS_IN_HAND_MAX], event_id))
            yield from (record for record in reversed(records) if record.status in statuses)


def hits(snapshots: Snapshots, wanted: bytes) -> Iterator[Hits]:
    """Yield numbers and statuses of events with this digest, and of replays of them, block by block, newest first. No
    snapshot stays open."""
    before: int | None = None
    more = True
    while more:
        found: list[Hits] = []
        with snapshots.take() as snapshot:
            before = _add_hits(snapshot, wanted, snapshot.end if before is None else before, found)
            more = before > 0
        yield from found


def _add_hits(snapshot: Snapshot, wanted: bytes, before: int, hits: list[Hits]) -> int:
    """Add hits until the snapshot is exhausted; return the number to go on before, 0 at the begin of the store."""
    for stretch in snapshot.index.with_ids([fingerprint(wanted)], 1, before):
        for first, digests in snapshot.digests_backward(stretch.stop):
            low, high = stretch.start - first, stretch.stop - first
            found = [each for each in places_of(digests, wanted, first) if low <= each[0] < high][::-1]
            if found:
                places, came = numpy.array([at for at, _ in found], "i8"), numpy.array([is_it for _, is_it in found])
                hits.append((places + first, _statuses(snapshot, first)[places], came))
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
    found = events_of(snapshots, numbers, bodies=bodies)
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
        return event_records(snapshot, block, numbered, range(numbered.first, numbered.end))


def source_of(snapshots: Snapshots, delivery_id: str) -> str | None:
    first = first_of(delivery_id)
    with snapshots.take() as snapshot:
        head = None if first is None else snapshot.head_of(first)
        return None if head is None else head.source_id


def left_at(snapshots: Snapshots, delivery_id: str) -> int:
    first = first_of(delivery_id)
    if first is None:
        return 0
    with snapshots.take() as snapshot:
        is_there = snapshot.block_of(first) is not None
        return 0 if is_there else snapshot.left_at("receipts", first)


def places_of(digests: bytes, wanted: bytes, first: int) -> Iterator[tuple[int, bool]]:
    """Yield the index of each event with this digest and True, of each replay of one and False. `first`: number of the
    first event. A match across two neighbours is not one."""
    begins = wanted[:SAME_BYTES]
    at = digests.find(begins)
    while at >= 0:
        place, rest = divmod(at, DIGEST_BYTES)
        found = digests[at : at + DIGEST_BYTES]
        if not rest and found in (wanted, replay_digest(wanted, first + place)):
            yield place, found == wanted
        at = digests.find(begins, at + 1)


def events_of(snapshots: Snapshots, numbers: list[int], *, bodies: bool) -> Iterator[EventRecord]:
    """Yield these events, ascending, delivery by delivery; those whose receipts have left are left out."""
    ordered = sorted(numbers)
    at = 0
    while at < len(ordered):
        with snapshots.take() as snapshot:
            while at < len(ordered) and not snapshot.exhausted:
                number = ordered[at]
                block = snapshot.block_of(number)
                if block is None and number < snapshot.front("receipts"):
                    at += 1
                    continue
                if block is None:
                    raise damaged(b"statuses", key_of(number), "there is no such event")
                numbered = delivery_of(snapshot, number, bodies=bodies)
                stop = bisect_left(ordered, min(block.end, numbered.end), at)
                yield from event_records(snapshot, block, numbered, ordered[at:stop])
                at = stop


def delivery_of(snapshot: Snapshot, number: int, *, bodies: bool = False) -> NumberedDeliveries:
    found = snapshot.delivery_of(number, bodies=bodies)
    if found is None:
        raise damaged(b"facts", key_of(number), "there is no such event")
    return found


def event_records(
    snapshot: Snapshot, block: Block, numbered: NumberedDeliveries, numbers: Sequence[int]
) -> list[EventRecord]:
    """Return what the store knows of these events, which are all in this block and in these deliveries of a record."""
    rows = block.rows[[number - block.first for number in numbers]].tolist()
    return [
        _event_record(snapshot, numbered, place, number, row)
        for number, place, row in zip(numbers, numbered.places_of(numbers), rows, strict=True)
    ]


def _event_record(
    snapshot: Snapshot, numbered: NumberedDeliveries, place: int, number: int, row: Sequence[int]
) -> EventRecord:
    code, attempts, at_ms, _, ref, key = row
    status = EventStatus(code)
    is_duplicate = status is EventStatus.DUPLICATE
    original = snapshot.delivery_id_of(number - ref) if is_duplicate and ref != number else None
    return EventRecord(
        numbered=numbered,
        place=place,
        position=number - numbered.first,
        status=status,
        attempts=attempts,
        at_ms=at_ms,
        duplicate_of=original,
        detail=detail_of(snapshot, ref, number, status) if ref and not is_duplicate else {},
        left_at_ms=snapshot.bodies_left_at(numbered)[place],
        history=history(snapshot, key, number),
    )


def history(snapshot: Snapshot, key: int, number: int) -> Sequence[Turn]:
    """Return the history of an event, whose row says this key for it; nothing if the key is 0."""
    if not key:
        return ()
    stored = snapshot.detail(key, number)
    try:
        return decode_history(json.loads(stored or b""))
    except (ValueError, TypeError) as error:
        raise damaged(b"results", key_of(key), f"the history of the event {number} is missing or damaged") from error


def detail_of(snapshot: Snapshot, ref: int, number: int, status: EventStatus) -> Mapping[str, object]:
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
