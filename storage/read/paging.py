"""From blocks to pages of spans: the pending events of a source, whole deliveries at a time, within limits."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, pairwise
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

from storage.codec.log_record import LogHead
from storage.codec.records import DIGEST_BYTES, damaged, key_of
from storage.codec.status_rows import Rows, is_pending
from storage.deliveries import NumberedDeliveries
from storage.model import Span
from storage.read.snapshot import Block, Snapshot
from storage.statuses import EventStatus

_DIGEST = f"V{DIGEST_BYTES}"


@dataclass(frozen=True, slots=True)
class Pending:
    """The pending events in one log record: their numbers, and where their rows and digests are."""

    head: LogHead
    block: Block
    numbers: Sequence[int]


def pending_in(
    snapshot: Snapshot, block: Block, start: int, end: int, source_id: str | None = None
) -> Iterator[Pending]:
    """Yield the pending events of a block with `start` ≤ number < `end`, by log record."""
    low, high = max(start, block.first), min(end, block.end)
    if low >= high:
        return
    rows = block.rows[low - block.first : high - block.first]
    numbers = (numpy.flatnonzero(is_pending(rows["status"])) + low).tolist()
    if not numbers:
        return
    yield from pending_at(snapshot, block, numbers, source_id)


def pending_at(
    snapshot: Snapshot, block: Block, numbers: Sequence[int], source_id: str | None = None
) -> Iterator[Pending]:
    """Yield the same for these numbers of a block, which ascend and are pending."""
    for head in snapshot.heads(numbers[0], numbers[-1] + 1):
        if source_id is None or head.source_id == source_id:
            mine = numbers[bisect_left(numbers, head.first) : bisect_left(numbers, head.end)]
            if mine:
                yield Pending(head, block, mine)


@dataclass(slots=True)
class PageBuilder:
    """Collects spans until they reach the limits.

    With bodies, adds whole deliveries, at least one; without, exactly up to `events_max` events.
    """

    events_max: int
    bytes_max: int
    bodies: bool
    spans: list[Span] = field(default_factory=list)
    events: int = 0
    size: int = 0
    stopped_at: int | None = None
    """The first pending number that did not fit."""

    def add(self, snapshot: Snapshot, pending: Pending) -> None:
        """Add what fits of one log record."""
        if not self.bodies:
            self._add_numbers(snapshot, pending)
            return
        if snapshot.bodies_left(pending.head):
            key = key_of(pending.head.first)
            raise damaged(b"bodies", key, f"the body of the pending event {pending.numbers[0]} is missing")
        numbered = snapshot.deliveries(pending.head, bodies=True)
        fitting: list[_PendingDelivery] = []
        for found in _by_delivery(numbered, pending.numbers):
            if not self._fits(found):
                self.stopped_at = pending.numbers[found.start]
                break
            self.events += found.stop - found.start
            self.size += found.size
            fitting.append(found)
        for _, run in groupby(enumerate(fitting), key=lambda pair: pair[1].place - pair[0]):  # neighbours
            those = [found for _, found in run]
            numbers = pending.numbers[those[0].start : those[-1].stop]
            self._add_spans(snapshot, pending, numbers, numbered.part(those[0].place, those[-1].place + 1))

    def _add_numbers(self, snapshot: Snapshot, pending: Pending) -> None:
        room = max(self.events_max - self.events, 0 if self.events else 1)
        if room:
            fitting = pending.numbers[:room]
            self.events += len(fitting)
            self._add_spans(snapshot, pending, fitting, None)
        if len(pending.numbers) > room:
            self.stopped_at = pending.numbers[room]

    def _fits(self, found: "_PendingDelivery") -> bool:
        events, size = self.events + found.stop - found.start, self.size + found.size
        return not self.events or (events <= self.events_max and size <= self.bytes_max)

    def _add_spans(
        self, snapshot: Snapshot, pending: Pending, numbers: Sequence[int], numbered: NumberedDeliveries | None
    ) -> None:
        places = numpy.asarray(numbers) - pending.block.first
        rows = pending.block.rows[places]
        digests = numpy.frombuffer(snapshot.digests(pending.block), _DIGEST)[places]
        bodies = numpy.frombuffer(snapshot.body_digests(pending.head), _DIGEST)
        if len(bodies):
            bodies = bodies[numpy.asarray(numbers) - pending.head.first]
        for low, high in _ranges(rows):
            held = numbered and numbered.holding(numbers[low], numbers[high - 1])
            self.spans.append(
                Span(
                    numbered=held,
                    source_id=pending.head.source_id,
                    numbers=numbers[low:high],
                    digests=digests[low:high].tobytes(),
                    attempts=rows["attempts"][low:high].tolist(),
                    deferred=bool(rows["status"][low] == EventStatus.DEFERRED),
                    received_at_ms=held.deliveries.received_at_ms[0] if held else pending.head.received_at_ms,
                    store_ms=int(rows["store_ms"][low]),
                    body_digests=bodies[low:high].tobytes(),
                )
            )


class _PendingDelivery(NamedTuple):
    """A delivery with pending events: its index, the range of their numbers, and the bytes of its body."""

    place: int
    start: int
    stop: int
    size: int


def _by_delivery(numbered: NumberedDeliveries, numbers: Sequence[int]) -> Iterator[_PendingDelivery]:
    ends = chain(numbered.firsts()[1:], [numbered.end])
    start = 0
    for place, (end, body) in enumerate(zip(ends, numbered.deliveries.bodies, strict=True)):
        stop = bisect_left(numbers, end, start)
        if stop > start:
            yield _PendingDelivery(place, start, stop, len(body))
        start = stop


def received_at(snapshot: Snapshot, pending: Pending) -> int:
    """Return when the first of these events was received, in ms."""
    numbered = snapshot.delivery_of(pending.numbers[0])
    return numbered.deliveries.received_at_ms[0] if numbered else pending.head.received_at_ms


def _ranges(rows: Rows) -> list[tuple[int, int]]:
    """Return the ranges of equal status and time of receipt, as starts and ends."""
    status: NDArray[numpy.uint32] = rows["status"]
    store_ms: NDArray[numpy.uint64] = rows["store_ms"]
    differ = (status[1:] != status[:-1]) | (store_ms[1:] != store_ms[:-1])
    return list(pairwise([0, *(numpy.flatnonzero(differ) + 1).tolist(), len(status)]))
