"""Gathering: what waits for the committer becomes one group, with numbers, source by source."""

from collections.abc import Callable, Sequence

from server.flow.source_state import SourceState
from server.intake.intake import Admission, AllAdmitted, Reading
from storage.errors import StoreError
from storage.model import Append, Columns, Group, Outcomes, Singles, Stored
from storage.record import record
from storage.records import delivery_id

Appended = Callable[[Stored | Singles | StoreError], None]
Finished = Callable[[], None]
Finishing = tuple[SourceState, Outcomes, Finished]


@record
class Waiting:
    """What was admitted, and who waits for it to be on disk."""

    state: SourceState
    admission: Admission | AllAdmitted
    pending: int
    done: Appended

    @property
    def deferred(self) -> int:
        return self.pending - self.admission.admitted


@record
class Run:
    """What a group has of one source."""

    state: SourceState
    waiting: list[Waiting]


def runs_of(appends: Sequence[Waiting]) -> list[Run]:
    """By source; each in the order in which they came."""
    by_source: dict[str, list[Waiting]] = {}
    for waiting in appends:
        by_source.setdefault(waiting.state.id, []).append(waiting)
    return [Run(waiting[0].state, waiting) for waiting in by_source.values()]


def gathered(number: int, suffix: str, runs: Sequence[Run], outcomes: Sequence[Finishing]) -> Group:
    """The group whose first new event has this number."""
    appends = []
    for run in runs:
        for waiting in run.waiting:
            admission = waiting.admission
            stored = _numbered(number, suffix, admission.reading)
            appends.append(Append(stored, admission.admitted, admission.rest))
            number += admission.reading.count
    touched = {run.state.id: run.state for run in runs} | {state.id: state for state, _, _ in outcomes}
    oldest = {source_id: bound for source_id, state in touched.items() if (bound := state.oldest_bound()) is not None}
    return Group(appends, [entry for _, entry, _ in outcomes], oldest)


def requests_in(append: Append) -> int:
    """How many requests brought it."""
    return append.stored.count if isinstance(append.stored, Singles) else 1


def _numbered(number: int, suffix: str, reading: Reading | Columns) -> Stored | Singles:
    if isinstance(reading, Columns):
        return Singles(number, suffix, reading)
    return Stored(number, delivery_id(number, suffix), reading.facts, reading.body)
