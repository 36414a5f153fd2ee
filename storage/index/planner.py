"""Plans steps of the look-up index by reading, beside a server that writes: on a thread of its own.

What has come is added as soon as it fills a segment: one of the shortest, or a longer one if so much waits; FAN_OUT
neighbours become one of the next level, and then leave. Each step is small, and one transaction. What a step needs to
know is in the store, but for how far a merge has come: one that was cut off begins anew, over what it had written.

What has left by retention leaves the index too: see `sweep.py`. Where nothing is, at the begin of a store, segments are
passed over.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy

from storage.codec.index_rows import (
    FAN_OUT,
    LEVELS,
    encode_entries,
    encode_times,
    entries_key,
    joined_times,
    parts,
    raised,
    span,
    split,
    times_key,
)
from storage.index.build import Row, read_segment
from storage.index.sweep import Sweep
from storage.index_step import DELETIONS_MAX, IndexStep
from storage.lmdb_store.environment import Store
from storage.read.index import Segment
from storage.read.snapshot import Snapshot, Snapshots

BUILT_LEVEL_MAX = 2
"""The longest segments that are made from events at once: 63,488 of them, 256 kB of entries."""


class IndexPlanner:
    """Of one store. For one thread at a time. A step must be committed, or given up, before the next is planned."""

    def __init__(self, store: Store) -> None:
        self._snapshots = Snapshots(store)
        self._merging = (Segment(0, 0), 0)
        """The segment that is being made by a merge, and the next part of those that it is made of."""
        self._sweep = Sweep(self._snapshots)

    def give_up(self) -> None:
        """Forget the last step; call if it was not written."""
        self._merging = (Segment(0, 0), 0)
        self._sweep = Sweep(self._snapshots)

    def plan(self) -> IndexStep | None:
        """Return the next step, which may be empty; None if there is nothing to do now."""
        with self._snapshots.take() as snapshot:
            step = _pass_over(snapshot) or self._merge(snapshot) or _drop_merged(snapshot)
            segment = None if step is not None else _next_segment(snapshot)
            covered = list(snapshot.index.covered)
        if segment is None:
            return step or self._sweep.plan()
        rows = list(read_segment(self._snapshots, segment).rows())
        covered[: segment.level + 1] = [segment.end] * (segment.level + 1)
        return IndexStep(rows, covered=covered)

    def _merge(self, snapshot: Snapshot) -> IndexStep | None:
        """Return the next step of the merge that is due, if any."""
        covered = snapshot.index.covered
        for level in range(LEVELS - 1):
            if covered[level] - covered[level + 1] >= span(level + 1):
                return self._merge_part(snapshot, Segment(level + 1, covered[level + 1]))
        return None

    def _merge_part(self, snapshot: Snapshot, made: Segment) -> IndexStep:
        part = self._merging[1] if self._merging[0] == made else 0
        self._merging = made, part + 1
        children = [Segment(made.level - 1, made.first + place * span(made.level - 1)) for place in range(FAN_OUT)]
        puts = list(_merged(snapshot, made, children, part))
        if part + 1 < parts(made.level - 1):
            return IndexStep(puts)
        times = [snapshot.index.times(child.level, child.first) for child in children]
        key = times_key(made.level, made.first)
        puts.append((key, encode_times(key, numpy.concatenate([joined_times(each) for each in times]))))
        covered = list(snapshot.index.covered)
        covered[made.level] = made.end
        return IndexStep(puts, covered=covered)


def _pass_over(snapshot: Snapshot) -> IndexStep | None:
    """Return a step by which a new index begins where the store does, with the longest segments: of a store from which
    much had left before there was one."""
    length = span(LEVELS - 1)
    start = next(snapshot.first_numbers("ids", 0), 0) // length * length
    return IndexStep(covered=[start] * LEVELS) if snapshot.index.end < start else None


def _merged(snapshot: Snapshot, made: Segment, children: Sequence[Segment], part: int) -> Iterator[Row]:
    """Yield the parts that one part of each of the children becomes."""
    raised_ones = [
        raised(snapshot.index.entries(child, part), part, child.level, place) for place, child in enumerate(children)
    ]
    for place, entries in split(numpy.sort(numpy.concatenate(raised_ones))):
        key = entries_key(made.level, made.first, place)
        yield key, encode_entries(key, entries)


def _drop_merged(snapshot: Snapshot) -> IndexStep | None:
    """Return a step that removes rows of segments that have become a longer one; None if there are none."""
    index = snapshot.index
    rows = chain.from_iterable(index.merged_keys(level) for level in range(LEVELS - 1))
    found = [key for key, _ in zip(rows, range(DELETIONS_MAX), strict=False)]
    return IndexStep(deletions=found) if found else None


def _next_segment(snapshot: Snapshot) -> Segment | None:
    """Return the longest segment that can be made now of what has come; None if it fills none."""
    first, end = snapshot.index.end, snapshot.end
    for level in reversed(range(BUILT_LEVEL_MAX + 1)):
        if first % span(level) == 0 and end - first >= span(level):
            return Segment(level, first)
    return None
