"""What a group changes in the totals of its sources, counted as it is written."""

from collections.abc import Mapping, Sequence
from operator import add, attrgetter

from storage.errors import IllegalStatusChange
from storage.statuses import COUNTERS, MOVES, NEW_MOVES, REPLAY_MOVES, EventStatus, Totals

_counts = attrgetter(*COUNTERS)
_PENDING = COUNTERS.index("pending")


class TotalsDelta:
    """What a group changes in the totals of one source."""

    __slots__ = ("counts", "first_pending")

    def __init__(self) -> None:
        self.counts = [0] * len(COUNTERS)
        """By their place in COUNTERS."""
        self.first_pending: int | None = None
        """The smallest number of which the group says that it is pending."""

    def add_new(self, events: Sequence[int], *, replayed: bool = False) -> None:
        """Count new events; `events` says how many have each status."""
        for moves, count in zip(REPLAY_MOVES if replayed else NEW_MOVES, events, strict=True):
            if count:
                for place, step in moves:
                    self.counts[place] += step * count

    def change(self, events: Sequence[int], becomes: EventStatus) -> None:
        """Count events that get another status; `events` says how many of them had each."""
        for moves, count in zip(MOVES[becomes], events, strict=True):
            if count:
                for place, step in moves:
                    self.counts[place] += step * count

    def add(self, counter: str, events: int) -> None:
        """Count events by a counter that no status moves."""
        self.counts[COUNTERS.index(counter)] += events

    def made_pending(self, number: int) -> None:
        """Note that the group says of this event that it is pending, whether or not it was before."""
        self.first_pending = number if self.first_pending is None else min(number, self.first_pending)


class TotalsDeltas:
    """Those of one group, by source. `next_number`: after its last event."""

    def __init__(self, before: Mapping[str, Totals], next_number: int) -> None:
        self._before = before
        self._next_number = next_number
        self._deltas: dict[str, TotalsDelta] = {}

    def of(self, source_id: str) -> TotalsDelta:
        """Return the delta of this source, to be changed."""
        found = self._deltas.get(source_id)
        if found is None:
            found = self._deltas[source_id] = TotalsDelta()
        return found

    def new_totals(self, hints: Mapping[str, int]) -> dict[str, Totals]:
        """Return the totals of the sources that the group touches. `hints`: lower bounds for their oldest pending ones.

        Raises IllegalStatusChange if a count would be negative.
        """
        touched = self._deltas.keys() | (hints.keys() & self._before.keys())
        return {source_id: self._new_total(source_id, hints.get(source_id, 0)) for source_id in touched}

    def _new_total(self, source_id: str, hint: int) -> Totals:
        before = self._before.get(source_id) or Totals()
        delta = self._deltas.get(source_id) or TotalsDelta()
        counts = list(map(add, _counts(before), delta.counts))
        if min(counts) < 0:
            raise IllegalStatusChange(f"{source_id} would have a negative count: are these events another source's?")
        oldest = max(before.oldest, hint) if before.pending else self._next_number
        if delta.first_pending is not None:
            oldest = min(oldest, delta.first_pending)
        counts.append(oldest if counts[_PENDING] else self._next_number)
        return Totals(*counts)
