"""Deliveries that wait for their numbers, and batches: those that got them together.

(What one transaction writes is a group: one or more batches, and changes of status.)
"""

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

Appended = Callable[[NumberedDeliveries | StoreError], None]


@frozen
class PendingAppend:
    """What was admitted, and who waits for it to be on disk."""

    state: SourceState
    admission: Admission
    pending: int
    done: Appended
    replay: tuple[str, bytes] | None = None
    """Id and record of the replay that it is a step of, as that is then."""

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


def split_off(waiting: list[PendingAppend]) -> tuple[list[PendingAppend], list[PendingAppend]]:
    """Return about BATCH_EVENTS of what waits, at least one delivery, and the rest."""
    events = count = 0
    while count < len(waiting) and events < BATCH_EVENTS:
        events += waiting[count].admission.deliveries.count
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
