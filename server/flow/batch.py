"""Deliveries that wait for their numbers, and batches: those that got them together.

(What one transaction writes is a group: one or more batches, and changes of status.)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.flow.source_state import SourceState
from server.intake.intake import Admission
from storage.deliveries import NumberedDeliveries
from storage.errors import StoreError
from storage.frozen import frozen
from storage.model import Append

BATCH_EVENTS = 8192
"""About. A transaction takes long by then, and more would fill the queue of a source (20000 by default) at one stroke:
the rest would be read from disk again, which is slower than what comes in."""

BESIDE_SMALL_EVENTS, BESIDE_SMALL_BYTES = 2048, 1024 * 1024
"""The same beside small deliveries, which wait for the transaction that is under way: about what the largest delivery
brings, which cannot be divided. Without small ones that would cost a fifth more CPU an event."""

BESIDE_SMALL_BATCHES = 8
"""Heavy batches after the last small one that are kept short: a client that waits for each answer comes again soon."""

SMALL_EVENTS, SMALL_BYTES = 256, 16384
"""A delivery with more of either is heavy."""

Appended = Callable[[NumberedDeliveries | StoreError], None]


@frozen
class PendingAppend:
    """What was admitted, and who waits for it to be on disk."""

    state: SourceState
    admission: Admission
    pending: int
    done: Appended

    @property
    def is_small(self) -> bool:
        """Whether it may get its numbers before heavy ones that came earlier. Not if a part of it is deferred: that
        waits behind all that was deferred before. Deliveries that were read together are as heavy as their mean.
        """
        deliveries = self.admission.deliveries
        requests = len(deliveries.bodies)
        is_heavy = deliveries.count > SMALL_EVENTS * requests or deliveries.size > SMALL_BYTES * requests
        return not is_heavy and self.admission.admitted == deliveries.count

    @property
    def deferred(self) -> int:
        return self.pending - self.admission.admitted

    def refuse(self, error: StoreError) -> None:
        """Undo it, as if it had never come, and tell who waits."""
        self.state.not_appended(self.pending, self.deferred)
        self.done(error)


@dataclass(slots=True, eq=False)
class Batch:
    """Deliveries that got their numbers together, in the order of these."""

    waiting: list[PendingAppend]
    appends: list[Append]
    """One for each that waits."""
    first: int
    end: int
    """The number after the last event."""
    is_answered: bool = False
    """It is on disk, and who waited knows."""

    @property
    def requests(self) -> int:
        """How many brought it."""
        return sum([len(append.numbered.deliveries.bodies) for append in self.appends])

    @property
    def events(self) -> int:
        return self.end - self.first

    @property
    def size(self) -> int:
        """Bytes of the bodies."""
        return sum([append.numbered.deliveries.size for append in self.appends])

    def answer(self) -> None:
        """Tell who waits; call once, when it is on disk."""
        self.is_answered = True
        for waiting, append in zip(self.waiting, self.appends, strict=True):
            waiting.done(append.numbered)


class Splitter:
    """Decides which of those that wait are the next batch.

    Small deliveries do not wait behind heavy ones: they are a batch of their own, which the journal takes, and then it
    is the turn of the heavy ones, so that neither starve.
    """

    def __init__(self) -> None:
        self._was_small = False
        self._short_batches = 0

    def split_off(self, waiting: list[PendingAppend]) -> tuple[list[PendingAppend], list[PendingAppend]]:
        """Return the next batch, at least one delivery unless none waits, and the rest."""
        small = [each for each in waiting if each.is_small]
        if len(small) == len(waiting) or (small and not self._was_small):
            self._was_small, self._short_batches = True, BESIDE_SMALL_BATCHES
            batch, left = _up_to(small, BATCH_EVENTS)
            return batch, left + ([each for each in waiting if not each.is_small] if len(small) < len(waiting) else [])
        self._was_small = False
        heavy = [each for each in waiting if not each.is_small]
        if self._short_batches:
            self._short_batches -= 1
            batch, left = _up_to(heavy, BESIDE_SMALL_EVENTS, BESIDE_SMALL_BYTES)
        else:
            batch, left = _up_to(heavy, BATCH_EVENTS)
        return batch, left + small


def _up_to(
    waiting: list[PendingAppend], events_max: int, bytes_max: float = math.inf
) -> tuple[list[PendingAppend], list[PendingAppend]]:
    """Return about so much of what waits, at least one delivery, and the rest."""
    events = size = count = 0
    while count < len(waiting) and events < events_max and size < bytes_max:
        deliveries = waiting[count].admission.deliveries
        events += deliveries.count
        size += deliveries.size
        count += 1
    return waiting[:count], waiting[count:]


def numbered(first: int, suffix: str, waiting: Sequence[PendingAppend], store_ms: int) -> Batch:
    """Return the batch whose first event has this number: source by source, each in the order in which it came.

    `store_ms`: the store's time, to the minute.
    """
    by_source: dict[str, list[PendingAppend]] = {}
    for each in waiting:
        by_source.setdefault(each.state.id, []).append(each)
    ordered = [each for those in by_source.values() for each in those]
    appends, number = [], first
    for each in ordered:
        admission = each.admission
        numbered = NumberedDeliveries(number, suffix, admission.deliveries)
        appends.append(Append(numbered, admission.admitted, admission.rest, store_ms))
        number += numbered.count
    return Batch(ordered, appends, first, number)
