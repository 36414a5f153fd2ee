"""Events by their id, by their delivery, and the dead: records for people and programs that ask."""

from collections.abc import Iterator, Mapping

import numpy
import orjson

from storage.model import EventRecord, Fate, Stored
from storage.records import DIGEST_BYTES, damaged, digest, first_of, key_of
from storage.snapshot import Block, Snapshot, Snapshots


def find(snapshots: Snapshots, source_id: str, event_id: str) -> list[EventRecord]:
    """From the newest digests to the oldest; the ids are compared too, so a hit is one beyond doubt."""
    wanted = digest(source_id, event_id)
    numbers: list[int] = []
    before: int | None = None
    more = True
    while more:
        with snapshots.take() as snapshot:
            for first, digests in snapshot.digests_backward(before):
                numbers += (first + at for at in _places(digests, wanted))
                before = first
            more = snapshot.exhausted
    found = [record for record in _events(snapshots, numbers) if record.stored.event_id(record.position) == event_id]
    return sorted(found, key=lambda record: (record.fate != Fate.PROCESSED, -record.number))


def delivery(snapshots: Snapshots, delivery_id: str) -> list[EventRecord] | None:
    first = first_of(delivery_id)
    if first is None:
        return None
    with snapshots.take() as snapshot:
        stored = snapshot.delivery_of(first)
        block = snapshot.block_of(first)
        if stored is None or block is None or stored.id != delivery_id:
            return None
        return [_event(snapshot, block, stored, stored.first + at) for at in range(stored.facts.count)]


def dead(snapshots: Snapshots, source_id: str | None, after: int, limit: int) -> list[EventRecord]:
    found: list[EventRecord] = []
    start: int | None = after + 1
    while start is not None and len(found) < limit:
        with snapshots.take() as snapshot:
            start = _collect_dead(snapshot, source_id, start, found, limit)
    return found


def _collect_dead(
    snapshot: Snapshot, source_id: str | None, start: int, found: list[EventRecord], limit: int
) -> int | None:
    """The number to go on from; None at the end of the store."""
    for block in snapshot.blocks(start):
        for number in (numpy.flatnonzero(block.rows["fate"] == Fate.DEAD) + block.first).tolist():
            if number < start:
                continue
            if len(found) == limit or snapshot.exhausted:
                return int(number)
            head = snapshot.head_of(number)
            if head and source_id in (None, head.source_id):
                found.append(_event(snapshot, block, _stored(snapshot, number), number))
        if snapshot.exhausted:
            return block.end
    return None


def _places(digests: bytes, wanted: bytes) -> Iterator[int]:
    """Where the digest stands; what is found across two neighbours is none."""
    at = digests.find(wanted)
    while at >= 0:
        if at % DIGEST_BYTES == 0:
            yield at // DIGEST_BYTES
        at = digests.find(wanted, at + 1)


def _events(snapshots: Snapshots, numbers: list[int]) -> Iterator[EventRecord]:
    left = sorted(numbers)
    while left:
        with snapshots.take() as snapshot:
            while left and not snapshot.exhausted:
                number = left.pop(0)
                block = snapshot.block_of(number)
                if block is None:
                    raise damaged(b"fates", key_of(number), "there is no such event")
                yield _event(snapshot, block, _stored(snapshot, number), number)


def _stored(snapshot: Snapshot, number: int) -> Stored:
    stored = snapshot.delivery_of(number)
    if stored is None:
        raise damaged(b"log", key_of(number), "there is no such event")
    return stored


def _event(snapshot: Snapshot, block: Block, stored: Stored, number: int) -> EventRecord:
    row = block.rows[number - block.first]
    fate = Fate(int(row["fate"]))
    ref = int(row["ref"])
    twin = snapshot.delivery_of(number - ref) if fate == Fate.DUPLICATE and ref != number else None
    return EventRecord(
        stored=stored,
        position=number - stored.first,
        fate=fate,
        attempts=int(row["attempts"]),
        at_ms=int(row["at_ms"]),
        duplicate_of=twin.id if twin else None,
        detail=_detail(snapshot, ref, number) if ref and fate != Fate.DUPLICATE else {},
    )


def _detail(snapshot: Snapshot, ref: int, number: int) -> Mapping[str, object]:
    detail = snapshot.detail(ref, number)
    if detail is None:
        raise damaged(b"results", key_of(ref), f"the event {number} is not in it")
    try:
        found = orjson.loads(detail)
    except orjson.JSONDecodeError as error:
        raise damaged(b"results", key_of(ref), f"the detail of the event {number} is no JSON") from error
    return found if isinstance(found, dict) else {"result": found}
