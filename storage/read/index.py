"""Reads the look-up index: which stretches of numbers are worth looking at. What it does not reach yet is.

Entries may be of events that have left; who looks there finds nothing. None is missing of what is there: numbers and
ids of what was committed never change.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy

from storage.codec.index_rows import (
    COVERED_KEY,
    FAN_OUT,
    GRANULE,
    LEVELS,
    NEVER,
    EntryColumn,
    Times,
    decode_covered,
    decode_entries,
    decode_times,
    entries_key,
    entries_prefix,
    granules_with,
    part_of,
    place_of,
    span,
    times_key,
    times_prefix,
)
from storage.codec.records import key_of
from storage.lmdb_store.environment import Store

NO_ENTRIES = numpy.empty(0, "<u4")
NO_TIMES = numpy.array([NEVER] * FAN_OUT, numpy.uint64)
"""Of a segment of which nothing is left."""


class Segment(NamedTuple):
    """A segment that answers for its numbers."""

    level: int
    first: int

    @property
    def end(self) -> int:
        return self.first + span(self.level)


class IndexReader:
    """The index as it is in one transaction. `on_read` is called for each row that is read."""

    def __init__(self, txn: Any, store: Store, on_read: Callable[[], None]) -> None:
        self._txn = txn
        self._index = store.index
        self._on_read = on_read
        found = None if store.index is None else txn.get(COVERED_KEY, db=store.meta)
        self.covered: Sequence[int] = (0,) * LEVELS if found is None else decode_covered(bytes(found))
        """By level: the number before which its segments, or longer ones, have everything."""

    @property
    def end(self) -> int:
        """The number before which it has everything."""
        return self.covered[0]

    def segments(self, low: int, high: int) -> Iterator[Segment]:
        """Yield, in order, the segments that answer for `low` .. `high - 1`, as far as the index reaches."""
        start = 0
        for level in reversed(range(LEVELS)):
            length, end = span(level), self.covered[level]
            for first in range(max(start, low // length * length), min(end, high), length):
                yield Segment(level, first)
            start = end

    def entries(self, segment: Segment, part: int) -> EntryColumn:
        """Return the entries in one part of a segment."""
        key = entries_key(segment.level, segment.first, part)
        value = self._get(key)
        return NO_ENTRIES if value is None else decode_entries(key, value)

    def times(self, level: int, first: int) -> Times:
        """Return when the first and the last of each sub-segment were received."""
        key = times_key(level, first)
        value = self._get(key)
        return NO_TIMES if value is None else decode_times(key, value)

    def merged_keys(self, level: int) -> Iterator[bytes]:
        """Yield the keys of what segments of this level have, and a longer one by now has too."""
        for prefix in (entries_prefix(level), *([times_prefix(level)] if level == 0 else [])):
            yield from self.keys(prefix, 0, self.covered[level + 1])

    def keys(self, prefix: bytes, first: int, end: int) -> Iterator[bytes]:
        """Yield the keys of the rows of one kind of the segments that begin with `first` .. `end - 1`."""
        cursor = None if self._index is None else self._txn.cursor(db=self._index)
        more = cursor is not None and cursor.set_range(prefix + key_of(first))
        while cursor is not None and more:
            key = bytes(cursor.key())
            if not key.startswith(prefix) or place_of(key)[1] >= end:
                return
            yield key
            more = cursor.next()

    def rows(self, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield all rows behind this key."""
        cursor = None if self._index is None else self._txn.cursor(db=self._index)
        more = cursor is not None and cursor.set_range(after + b"\0")
        while cursor is not None and more:
            self._on_read()
            yield bytes(cursor.key()), bytes(cursor.value())
            more = cursor.next()

    def _get(self, key: bytes) -> bytes | None:
        self._on_read()
        value = self._txn.get(key, db=self._index)
        return None if value is None else bytes(value)

    # Where an id may be.

    def with_ids(self, wanted: Sequence[int], low: int, high: int, *, oldest_first: bool = False) -> Iterator[range]:
        """Yield the stretches of `low` .. `high - 1` that may hold an id with one of these fingerprints."""
        beyond = [range(max(low, self.end), high)] if self.end < high else []
        if not oldest_first:
            yield from beyond
        segments = self.segments(low, high)
        for segment in segments if oldest_first else reversed(list(segments)):
            stretches = self._in_segment(segment, wanted, low, high)
            yield from stretches if oldest_first else reversed(stretches)
        if oldest_first:
            yield from beyond

    def _in_segment(self, segment: Segment, wanted: Sequence[int], low: int, high: int) -> Sequence[range]:
        granules: set[int] = set()
        for each in wanted:
            granules.update(granules_with(self.entries(segment, part_of(each, segment.level)), each, segment.level))
        return _clipped(_stretches(segment.first, sorted(granules)), low, high)

    # When it was received.

    def received(
        self, since_ms: int | None, until_ms: int | None, low: int, high: int, *, oldest_first: bool = False
    ) -> Iterator[range]:
        """Yield the stretches of `low` .. `high - 1` that may hold what was received from the one time until before the
        other. Right however the wall clock was set: each stretch is judged by its own times."""
        beyond = [range(max(low, self.end), high)] if self.end < high else []
        if not oldest_first:
            yield from beyond
        segments = self.segments(low, high)
        for segment in segments if oldest_first else reversed(list(segments)):
            wanted = (since_ms or 0, 2**63 if until_ms is None else until_ms)
            yield from self._descend(segment.level, segment.first, wanted, range(low, high), oldest_first)
        if oldest_first:
            yield from beyond

    def _descend(
        self, level: int, first: int, wanted: tuple[int, int], bounds: range, oldest_first: bool
    ) -> Iterator[range]:
        times = self.times(level, first)
        places = numpy.flatnonzero((times[:, 1] >= wanted[0]) & (times[:, 0] < wanted[1])).tolist()
        if level <= 1:
            stretches = _clipped(_stretches(first, places), bounds.start, bounds.stop)
            yield from stretches if oldest_first else reversed(stretches)
            return
        length = span(level) // FAN_OUT
        for place in places if oldest_first else reversed(places):
            start = first + place * length
            if start < bounds.stop and start + length > bounds.start:
                yield from self._descend(level - 1, start, wanted, bounds, oldest_first)


def _stretches(first: int, granules: Sequence[int]) -> Iterator[range]:
    """Yield the numbers of these granules of the segment that begins there; neighbours as one stretch."""
    start = stop = 0
    for each in granules:
        if each == stop and stop > start:
            stop += 1
            continue
        if stop > start:
            yield range(first + start * GRANULE, first + stop * GRANULE)
        start, stop = each, each + 1
    if stop > start:
        yield range(first + start * GRANULE, first + stop * GRANULE)


def _clipped(stretches: Iterator[range], low: int, high: int) -> Sequence[range]:
    found = (range(max(each.start, low), min(each.stop, high)) for each in stretches)
    return [each for each in found if each]
