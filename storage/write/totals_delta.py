"""What a group changes in the totals of its sources, counted as it is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import add, attrgetter

from storage.errors import IllegalOutcome
from storage.model import Totals


@dataclass(slots=True)
class Count:
    """What a group changes in the totals of one source."""

    received: int = 0
    requeued: int = 0
    deferred: int = 0
    processed: int = 0
    duplicate: int = 0
    dropped: int = 0
    dead: int = 0
    pending: int = 0
    deferred_now: int = 0
    first_pending: int | None = None
    """The smallest number of which the group says that it is pending."""

    def made_pending(self, number: int) -> None:
        self.first_pending = number if self.first_pending is None else min(number, self.first_pending)


_counts = attrgetter(*Totals.__slots__[:-1])
"""All fields but the last, which is no count."""


class Accounts:
    """The counts of one group, by source. `next_number`: after its last event."""

    def __init__(self, before: Mapping[str, Totals], next_number: int) -> None:
        self._before = before
        self._next_number = next_number
        self._counts: dict[str, Count] = {}

    def of(self, source_id: str) -> Count:
        """The counts of this source, to be changed."""
        found = self._counts.get(source_id)
        if found is None:
            found = self._counts[source_id] = Count()
        return found

    def new_totals(self, hints: Mapping[str, int]) -> dict[str, Totals]:
        """Of the sources that the group touches. `hints`: lower bounds for the numbers of their oldest pending events.

        Raises IllegalOutcome where a count would be negative.
        """
        touched = self._counts.keys() | (hints.keys() & self._before.keys())
        return {source_id: self._new_total(source_id, hints.get(source_id, 0)) for source_id in touched}

    def _new_total(self, source_id: str, hint: int) -> Totals:
        before = self._before.get(source_id) or Totals()
        count = self._counts.get(source_id) or Count()
        values = list(map(add, _counts(before), _counts(count)))
        if min(values) < 0:
            raise IllegalOutcome(f"{source_id} would have a negative count: are these events another source's?")
        oldest = max(before.oldest, hint) if before.pending else self._next_number
        if count.first_pending is not None:
            oldest = min(oldest, count.first_pending)
        values.append(oldest if before.pending + count.pending else self._next_number)
        return Totals(*values)
