"""From blocks to spans: which events of a source wait, whole deliveries at a time, within limits."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, pairwise
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from storage.codec.log_record import LogHead
from storage.codec.records import DIGEST_BYTES
from storage.codec.status_rows import Rows, is_pending
from storage.deliveries import NumberedDeliveries
from storage.model import Span
from storage.read.snapshot import Block, Snapshot
from storage.statuses import EventStatus


@dataclass(frozen=True, slots=True)
class Waiting:
    """The pending events in one log record: their numbers, and where their rows and digests are."""

    head: LogHead
    block: Block
    numbers: Sequence[int]


def pending_in(
    snapshot: Snapshot, block: Block, start: int, end: int, source_id: str | None = None
) -> Iterator[Waiting]:
    """What waits in a block with `start` ≤ number < `end`, log record by log record."""
    low, high = max(start, block.first), min(end, block.end)
    if low >= high:
        return
    rows = block.rows[low - block.first : high - block.first]
    numbers = (numpy.flatnonzero(is_pending(rows["status"])) + low).tolist()
    if not numbers:
        return
    yield from waiting_at(snapshot, block, numbers, source_id)


def waiting_at(
    snapshot: Snapshot, block: Block, numbers: Sequence[int], source_id: str | None = None
) -> Iterator[Waiting]:
    """The same for given numbers of a block, which ascend and are pending."""
    for head in snapshot.heads(numbers[0], numbers[-1] + 1):
        if source_id is None or head.source_id == source_id:
            mine = numbers[bisect_left(numbers, head.first) : bisect_left(numbers, head.end)]
            if mine:
                yield Waiting(head, block, mine)


@dataclass(slots=True)
class Taking:
    """Spans collected so far, and whether more fit.

    With bodies deliveries are taken whole, at least one; without, events up to `events_max` exactly.
    """

    events_max: int
    bytes_max: int
    bodies: bool
    spans: list[Span] = field(default_factory=list)
    events: int = 0
    size: int = 0
    stopped_at: int | None = None
    """The first pending number that was not taken."""

    def take(self, snapshot: Snapshot, waiting: Waiting) -> None:
        """Take what fits of one log record."""
        if not self.bodies:
            self._take_numbers(snapshot, waiting)
            return
        numbered = snapshot.deliveries(waiting.head, bodies=True)
        taken: list[_Found] = []
        for found in _by_delivery(numbered, waiting.numbers):
            if not self._fits(found):
                self.stopped_at = waiting.numbers[found.start]
                break
            self.events += found.stop - found.start
            self.size += found.size
            taken.append(found)
        for _, run in groupby(enumerate(taken), key=lambda pair: pair[1].place - pair[0]):  # neighbours
            those = [found for _, found in run]
            numbers = waiting.numbers[those[0].start : those[-1].stop]
            self._add(snapshot, waiting, numbers, numbered.part(those[0].place, those[-1].place + 1))

    def _take_numbers(self, snapshot: Snapshot, waiting: Waiting) -> None:
        room = max(self.events_max - self.events, 0 if self.events else 1)
        if room:
            taken = waiting.numbers[:room]
            self.events += len(taken)
            self._add(snapshot, waiting, taken, None)
        if len(waiting.numbers) > room:
            self.stopped_at = waiting.numbers[room]

    def _fits(self, found: "_Found") -> bool:
        events, size = self.events + found.stop - found.start, self.size + found.size
        return not self.events or (events <= self.events_max and size <= self.bytes_max)

    def _add(
        self, snapshot: Snapshot, waiting: Waiting, numbers: Sequence[int], numbered: NumberedDeliveries | None
    ) -> None:
        places = numpy.asarray(numbers) - waiting.block.first
        rows = waiting.block.rows[places]
        digests = numpy.frombuffer(snapshot.digests(waiting.block), f"V{DIGEST_BYTES}")[places]
        for low, high in _alike(rows):
            held = numbered and numbered.holding(numbers[low], numbers[high - 1])
            self.spans.append(
                Span(
                    numbered=held,
                    source_id=waiting.head.source_id,
                    numbers=numbers[low:high],
                    digests=digests[low:high].tobytes(),
                    attempts=rows["attempts"][low:high].tolist(),
                    deferred=bool(rows["status"][low] == EventStatus.DEFERRED),
                    received_at_ms=held.deliveries.received_at_ms[0] if held else waiting.head.received_at_ms,
                )
            )


class _Found(NamedTuple):
    """A delivery of which something waits: its place, the places of its numbers, and the bytes of its body."""

    place: int
    start: int
    stop: int
    size: int


def _by_delivery(numbered: NumberedDeliveries, numbers: Sequence[int]) -> Iterator[_Found]:
    ends = chain(numbered.firsts()[1:], [numbered.end])
    start = 0
    for place, (end, body) in enumerate(zip(ends, numbered.deliveries.bodies, strict=True)):
        stop = bisect_left(numbers, end, start)
        if stop > start:
            yield _Found(place, start, stop, len(body))
        start = stop


def received_at(snapshot: Snapshot, waiting: Waiting) -> int:
    """When the first of these events came, in ms."""
    numbered = snapshot.delivery_of(waiting.numbers[0])
    return numbered.deliveries.received_at_ms[0] if numbered else waiting.head.received_at_ms


def _alike(rows: Rows) -> list[tuple[int, int]]:
    """Where the status stays the same: starts and ends."""
    status: NDArray[numpy.uint32] = rows["status"]
    cuts = [0, *(numpy.flatnonzero(status[1:] != status[:-1]) + 1).tolist(), len(status)]
    return list(pairwise(cuts))
