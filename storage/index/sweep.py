"""Takes out of the index what has left by retention, once its front has passed a segment, and again after a start.

What retention has kept there stays; an entry goes when nothing is left in its granule.
"""

from collections.abc import Iterator
from itertools import chain, islice

import numpy
from numpy.typing import NDArray

from storage.codec.index_rows import (
    FAN_OUT,
    GRANULE,
    LEVELS,
    encode_entries,
    entries_key,
    entries_prefix,
    granules_of,
    parts,
    span,
    times_prefix,
)
from storage.index_step import DELETIONS_MAX, IndexStep
from storage.read.index import Segment
from storage.read.snapshot import Snapshot, Snapshots


class Sweep:
    """Of one store. For one thread at a time."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._ends = [0] * LEVELS
        """By level: before this number all is swept."""
        self._segment: Segment | None = None
        self._kept = numpy.zeros(0, "?")
        """By granule of the segment: whether anything is left in it."""
        self._part = 0

    def plan(self) -> IndexStep | None:
        """Return the next step, which may be empty; None if there is nothing to do now."""
        if self._segment is None and not self._begin():
            return None
        assert self._segment is not None
        with self._snapshots.take() as snapshot:
            return self._filter(snapshot, self._segment) if self._kept.any() else self._empty(snapshot, self._segment)

    def _begin(self) -> bool:
        """Choose the next segment that the front has passed; return whether there is one."""
        with self._snapshots.take() as snapshot:
            self._segment = self._next_segment(snapshot)
        if self._segment is not None:
            self._kept, self._part = kept_granules(self._snapshots, self._segment), 0
        return self._segment is not None

    def _next_segment(self, snapshot: Snapshot) -> Segment | None:
        covered, front = snapshot.index.covered, snapshot.front("receipts")
        for level in range(LEVELS):
            start = max([self._ends[level], *covered[level + 1 : level + 2]])
            if start + span(level) <= min(front, covered[level]):
                return Segment(level, start)
        return None

    def _filter(self, snapshot: Snapshot, segment: Segment) -> IndexStep:
        """Return a step for the next parts of a segment of which something is kept."""
        puts, deletions = [], []
        last = min(self._part + FAN_OUT, parts(segment.level))
        for part in range(self._part, last):
            entries = snapshot.index.entries(segment, part)
            kept = entries[self._kept[granules_of(entries, segment.level)]]
            key = entries_key(segment.level, segment.first, part)
            if len(kept) < len(entries):
                puts += [(key, encode_entries(key, kept))] if len(kept) else []
                deletions += [] if len(kept) else [key]
        self._part = last
        if last == parts(segment.level):
            self._end(segment)
        return IndexStep(puts, deletions)

    def _empty(self, snapshot: Snapshot, segment: Segment) -> IndexStep:
        """Return a step that removes rows of a segment of which nothing is kept."""
        keys = list(islice(_keys(snapshot, segment), DELETIONS_MAX))
        if len(keys) < DELETIONS_MAX:
            self._end(segment)
        return IndexStep(deletions=keys)

    def _end(self, segment: Segment) -> None:
        self._ends[segment.level], self._segment = segment.end, None


def _keys(snapshot: Snapshot, segment: Segment) -> Iterator[bytes]:
    own = snapshot.index.keys(entries_prefix(segment.level), segment.first, segment.end)
    times = (snapshot.index.keys(times_prefix(level), segment.first, segment.end) for level in range(segment.level + 1))
    return chain(own, *times)


def kept_granules(snapshots: Snapshots, segment: Segment) -> NDArray[numpy.bool_]:
    """Return for each granule of a segment whether the store has any event in it."""
    found = numpy.zeros(span(segment.level) // GRANULE, "?")
    start = segment.first
    while start < segment.end:
        with snapshots.take() as snapshot:
            at, start = start, segment.end
            for block in snapshot.blocks(at):
                if block.first >= segment.end:
                    break
                low = max(block.first - segment.first, 0) // GRANULE
                found[low : (block.end - 1 - segment.first) // GRANULE + 1] = True
                if snapshot.exhausted:
                    start = block.end
                    break
    return found
