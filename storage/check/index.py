"""Checks the look-up index: that no row is damaged, and that it leaves out nothing of what is in the store.

What is in the store is added as the walk through it comes by, and compared window by window: WINDOW numbers of it are
in memory, and what the index says of these. The index may say more: of what has left.
"""

from collections.abc import Callable, Iterator

import numpy
from numpy.typing import NDArray

from storage.codec.index_rows import (
    GRANULE,
    Packed,
    check_row,
    each_once,
    granules_of,
    pack,
    parts,
    span,
    unpacked,
)
from storage.codec.records import DIGEST_BYTES
from storage.deliveries import NumberedDeliveries
from storage.errors import StoreDamaged
from storage.index.build import SegmentContents
from storage.read.index import IndexReader, Segment
from storage.read.snapshot import Snapshots

WINDOW_LEVEL = 3
WINDOW = span(WINDOW_LEVEL)
"""A million numbers: some 60 MB."""

Problem = Callable[[str], None]


class IndexAudit:
    """Gets blocks and records in the order of their numbers."""

    def __init__(self, snapshots: Snapshots, problem: Problem) -> None:
        self._snapshots = snapshots
        self._problem = problem
        self._windows: list[SegmentContents] = []
        with snapshots.take() as snapshot:
            self._reaches = snapshot.index.end
        """What comes behind it is not compared."""

    def add_block(self, first: int, digests: bytes) -> None:
        """Add a block, of which the records follow."""
        end = min(first + len(digests) // DIGEST_BYTES, self._reaches)
        while self._windows and self._windows[0].segment.end <= first:
            self._compare(self._windows.pop(0))
        start = max(first // WINDOW * WINDOW, *(window.segment.end for window in self._windows), 0)
        self._windows += [SegmentContents(Segment(WINDOW_LEVEL, each)) for each in range(start, end, WINDOW)]
        for window in self._windows:
            window.add_digests(first, digests)

    def add_record(self, numbered: NumberedDeliveries) -> None:
        """Add a record of the block that was added last."""
        for window in self._windows:
            if window.segment.first < numbered.end and numbered.first < window.segment.end:
                window.add_record(numbered)

    def end(self) -> None:
        """Compare what was added and is not compared yet."""
        for window in self._windows:
            self._compare(window)
        self._windows = []

    def _compare(self, window: SegmentContents) -> None:
        expected, segment = window.entries(), window.segment
        found = self._found(segment)
        covered = self._reaches
        granules = granules_of(expected, WINDOW_LEVEL).astype(numpy.int64) * GRANULE + segment.first
        missing = granules[(granules + GRANULE <= covered) & ~_among(expected, found)]
        for first in dict.fromkeys(missing.tolist()):
            if self._is_there(first):
                self._problem(f"index: ids of the events {first} to {first + GRANULE - 1} are missing")
        self._compare_times(window, covered)

    def _found(self, window: Segment) -> Packed:
        """Return what the index has of a window, as a segment of that level has it."""
        found: list[Packed] = [numpy.empty(0, numpy.uint64)]
        with self._snapshots.take() as snapshot:
            segments = list(snapshot.index.segments(window.first, window.end))
            for segment in segments:
                if segment.level <= WINDOW_LEVEL:
                    found += _entries(snapshot.index, segment, window, range(parts(segment.level)))
        for segment in segments:
            if segment.level > WINDOW_LEVEL:  # it stays as it is, so not all of it has to be read at one moment
                for part in range(parts(segment.level)):
                    with self._snapshots.take() as snapshot:
                        found += _entries(snapshot.index, segment, window, range(part, part + 1))
        return each_once(numpy.concatenate(found))

    def _is_there(self, first: int) -> bool:
        """Return whether there are events in this granule now."""
        with self._snapshots.take() as snapshot:
            block = next(snapshot.blocks(first), None)
            return block is not None and block.first < first + GRANULE

    def _compare_times(self, window: SegmentContents, covered: int) -> None:
        first_ms, last_ms = window.times().T
        for place in numpy.flatnonzero(last_ms).tolist():
            number = window.segment.first + place * GRANULE
            if number + GRANULE > covered:
                break
            with self._snapshots.take() as snapshot:
                wanted = range(number, number + GRANULE)
                found = [
                    next(snapshot.index.received(at_ms, at_ms + 1, number, number + GRANULE), None)
                    for at_ms in (int(first_ms[place]), int(last_ms[place]))
                ]
            if found != [wanted, wanted] and self._is_there(number):
                self._problem(f"index: the times of the events {number} to {number + GRANULE - 1} are wrong")


def _among(wanted: Packed, found: Packed) -> NDArray[numpy.bool_]:
    """Return for each of the one, which are sorted, whether it is among the others, which are too."""
    if not len(found):
        return numpy.zeros(len(wanted), "?")
    places = numpy.minimum(found.searchsorted(wanted), len(found) - 1)
    is_there: NDArray[numpy.bool_] = found[places] == wanted
    return is_there


def _entries(index: IndexReader, segment: Segment, window: Segment, of: range) -> Iterator[Packed]:
    """Yield entries of a segment as those of the window."""
    for part in of:
        found, granules = unpacked(index.entries(segment, part), part, segment.level)
        places = granules.astype(numpy.int64) + (segment.first - window.first) // GRANULE
        mine = (places >= 0) & (places < WINDOW // GRANULE)
        yield pack(found[mine], places[mine], WINDOW_LEVEL)


def check_rows(snapshots: Snapshots, reading: Callable[[str, int], None], problem: Problem) -> None:
    """Check each row by itself."""
    after: bytes | None = b""
    while after is not None:
        at, after = after, None
        with snapshots.take() as snapshot:
            for key, value in snapshot.index.rows(at):
                reading("index", int.from_bytes(key[2:10], "big"))
                try:
                    check_row(key, value)
                except StoreDamaged as error:
                    problem(str(error))
                if snapshot.exhausted:
                    after = key
                    break
