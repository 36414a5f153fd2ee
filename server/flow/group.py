"""What waits for the committer becomes batches with numbers, and batches become one group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.flow.source_state import Committed, SourceState
from server.intake.intake import Admission
from storage.deliveries import NumberedDeliveries
from storage.errors import StoreError
from storage.model import Append, Group, StatusChange
from storage.record import record

GROUP_EVENTS = 8192
"""New ones in a batch, about. A transaction takes long by then, and more would fill the queue of a source (20000 by
default) at one stroke: the rest would be read from disk again, which is slower than what comes in."""

Appended = Callable[[NumberedDeliveries | StoreError], None]
Finished = Callable[[], None]
Finishing = tuple[SourceState, StatusChange, Finished]


@record
class Waiting:
    """What was admitted, and who waits for it to be on disk."""

    state: SourceState
    admission: Admission
    pending: int
    done: Appended

    @property
    def deferred(self) -> int:
        return self.pending - self.admission.admitted


@dataclass(slots=True)
class Batch:
    """Deliveries that got their numbers together, in the order of these."""

    waiting: list[Waiting]
    appends: list[Append]
    """One for each that waits."""
    first: int
    end: int
    """The number after the last event."""
    is_answered: bool = False
    """It is in the journal, and who waited knows."""

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
        """It is on disk."""
        self.is_answered = True
        for waiting, append in zip(self.waiting, self.appends, strict=True):
            waiting.done(append.numbered)


def taken(waiting: list[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
    """About GROUP_EVENTS of what waits, at least one delivery, and the rest."""
    events = count = 0
    while count < len(waiting) and events < GROUP_EVENTS:
        events += waiting[count].admission.deliveries.count
        count += 1
    return waiting[:count], waiting[count:]


def numbered(first: int, suffix: str, waiting: Sequence[Waiting]) -> Batch:
    """The batch whose first event has this number: source by source, each in the order in which it came."""
    by_source: dict[str, list[Waiting]] = {}
    for each in waiting:
        by_source.setdefault(each.state.id, []).append(each)
    ordered = [each for those in by_source.values() for each in those]
    appends, number = [], first
    for each in ordered:
        admission = each.admission
        numbered = NumberedDeliveries(number, suffix, admission.deliveries)
        appends.append(Append(numbered, admission.admitted, admission.rest))
        number += numbered.count
    return Batch(ordered, appends, first, number)


def group_of(batches: Sequence[Batch], outcomes: Sequence[Finishing]) -> Group:
    """All of it, for one transaction."""
    appends = [append for batch in batches for append in batch.appends]
    touched = {waiting.state for batch in batches for waiting in batch.waiting} | {state for state, _, _ in outcomes}
    oldest = {state.id: bound for state in touched if (bound := state.oldest_bound()) is not None}
    return Group(appends, [entry for _, entry, _ in outcomes], oldest)


def into_queue(state: SourceState, run: list[tuple[Waiting, Append, bytes]]) -> None:
    """Deliveries of one source that are in the store."""
    state.appended(
        [Committed(append.numbered, append.admitted, waiting.pending, packed) for waiting, append, packed in run]
    )
    for waiting, append, _ in run:
        if waiting.admission.over_limit:
            state.went_over(waiting.admission.over_limit)
        state.counts.rejected += sum(map(len, append.numbered.deliveries.rejected))
