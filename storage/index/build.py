"""Makes the rows of one segment from the events in it: of any store, in short transactions, however long it takes."""

from collections.abc import Callable, Iterator

import numpy
from numpy.typing import NDArray

from storage.codec.index_rows import (
    FAN_OUT,
    FINGERPRINT_BITS,
    GRANULE,
    NEVER,
    Fingerprints,
    Packed,
    Times,
    encode_entries,
    encode_times,
    entries_key,
    fingerprints,
    joined_times,
    pack,
    provider_fingerprints,
    span,
    split,
    times_key,
)
from storage.codec.records import DIGEST_BYTES
from storage.deliveries import NumberedDeliveries
from storage.read.index import Segment
from storage.read.snapshot import Snapshot, Snapshots

Row = tuple[bytes, bytes]
"""Key and value."""

_ABSENT = numpy.uint64(1 << FINGERPRINT_BITS)
"""In the place of an event that has left."""


class SegmentContents:
    """What is in a segment: fingerprints of ids, by number; those of other provider ids; times, by number."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        count = span(segment.level)
        self.ids: Fingerprints = numpy.full(count, _ABSENT)
        self.providers: list[tuple[Fingerprints, NDArray[numpy.int64]]] = []
        self.first_ms = numpy.full(count, NEVER[0], numpy.uint64)
        self.last_ms = numpy.full(count, NEVER[1], numpy.uint64)

    def add_digests(self, first: int, digests: bytes) -> None:
        """Add what `ids` has of a block."""
        own, theirs = _overlap(self.segment, first, first + len(digests) // DIGEST_BYTES)
        self.ids[own] = fingerprints(digests[theirs.start * DIGEST_BYTES : theirs.stop * DIGEST_BYTES])

    def add_record(self, numbered: NumberedDeliveries) -> None:
        """Add what `facts` has of a record."""
        deliveries = numbered.deliveries
        own, theirs = _overlap(self.segment, numbered.first, numbered.end)
        times = numpy.repeat(numpy.asarray(deliveries.received_at_ms, numpy.uint64), deliveries.counts)[theirs]
        self.first_ms[own] = self.last_ms[own] = times
        if deliveries.provider_ids is deliveries.ids or deliveries.provider_ids == deliveries.ids:
            return
        ids, provider_ids = deliveries.ids[theirs], deliveries.provider_ids[theirs]
        differ = [place for place, each in enumerate(provider_ids) if each is not None and each != ids[place]]
        found = provider_fingerprints(numbered.source_id, [provider_ids[place] or "" for place in differ])
        self.providers.append((found, numpy.asarray(differ, numpy.int64) + own.start))

    def entries(self) -> Packed:
        """Return all entries of the segment."""
        places = numpy.flatnonzero(self.ids != _ABSENT)
        found = numpy.concatenate([self.ids[places], *(each for each, _ in self.providers)])
        return pack(
            found, numpy.concatenate([places, *(each for _, each in self.providers)]) // GRANULE, self.segment.level
        )

    def times(self) -> Times:
        """Return the times of each granule."""
        first_ms, last_ms = (each.reshape(-1, GRANULE) for each in (self.first_ms, self.last_ms))
        return numpy.column_stack((first_ms.min(axis=1), last_ms.max(axis=1)))

    def rows(self) -> Iterator[Row]:
        """Yield the rows of the segment, and the times of those that it is made of."""
        level, first = self.segment
        for part, entries in split(self.entries()):
            key = entries_key(level, first, part)
            yield key, encode_entries(key, entries)
        yield from rows_of_times(level, first, self.times())


def rows_of_times(level: int, first: int, times: Times) -> Iterator[Row]:
    """Yield the rows of times of a segment, and of all in it but the shortest, from those of its granules."""
    for each in range(min(level, 1), level + 1):
        width = FAN_OUT if each else 1
        for place in range(len(times) // width):
            key = times_key(each, first + place * span(each))
            yield key, encode_times(key, times[place * width : (place + 1) * width])
        times = numpy.concatenate([joined_times(part) for part in times.reshape(-1, width, 2)])


def _overlap(segment: Segment, start: int, stop: int) -> tuple[slice, slice]:
    """Return where what has the numbers `start` .. `stop - 1` is in the segment, and in itself."""
    low, high = max(start, segment.first), min(stop, segment.end)
    return slice(low - segment.first, high - segment.first), slice(low - start, high - start)


def read_segment(snapshots: Snapshots, segment: Segment) -> SegmentContents:
    """Return what is in a segment. All of its numbers must be committed."""
    contents = SegmentContents(segment)
    _in_short_reads(snapshots, segment, lambda snapshot, start: _add_blocks(snapshot, start, segment, contents))
    _in_short_reads(snapshots, segment, lambda snapshot, start: _add_records(snapshot, start, segment, contents))
    return contents


def _in_short_reads(snapshots: Snapshots, segment: Segment, add: Callable[[Snapshot, int], int]) -> None:
    start = segment.first
    while start < segment.end:
        with snapshots.take() as snapshot:
            start = add(snapshot, start)


def _add_blocks(snapshot: Snapshot, start: int, segment: Segment, contents: SegmentContents) -> int:
    """Add blocks from there on; return where to go on."""
    for first, digests in snapshot.digests_forward(start):
        end = first + len(digests) // DIGEST_BYTES
        if first >= segment.end:
            break
        contents.add_digests(first, digests)
        if snapshot.exhausted:
            return end
    return segment.end


def _add_records(snapshot: Snapshot, start: int, segment: Segment, contents: SegmentContents) -> int:
    for head in snapshot.heads(start, segment.end):
        contents.add_record(snapshot.deliveries(head, bodies=False))
        if snapshot.exhausted:
            return head.end
    return segment.end
