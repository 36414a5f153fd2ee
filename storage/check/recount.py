"""What the records count, beside what the totals say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from storage.statuses import (
    COUNTERS,
    ENDED,
    EXPIRED_OF,
    GAUGES,
    GONE_OF,
    NEW,
    REOPENED,
    RULES,
    EventStatus,
    Totals,
    held,
)

OnProblem = Callable[[str], None]
"""Gets each problem as a sentence."""

UNTOLD = ("replayed", *REOPENED, "expired", *EXPIRED_OF.values())
"""Counters that the records alone do not tell."""


@dataclass(slots=True)
class Recount:
    """What was found, recounted from the records."""

    events: int = 0
    deliveries: int = 0
    blocks: int = 0
    results: int = 0
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """By source: how many events have each status."""
    expired: dict[str, int] = field(default_factory=dict)
    """By source: how many events are there whose bodies have left."""
    unlisted: dict[str, int] = field(default_factory=dict)
    """By source: how many of these are dead."""
    replays: dict[str, int] = field(default_factory=dict)
    """By source: how many events are others once more."""
    untold: dict[str, dict[str, int]] = field(default_factory=dict)
    """By source, those counters of the totals that were read last which no record tells."""
    complete: bool = True
    """Whether every record could be read; otherwise the counts are not compared."""

    def compare(self, before: Mapping[str, Totals], after: Mapping[str, Totals], problem: OnProblem) -> None:
        """Compare with the totals that were read before the walk and after it; note those that no record tells."""
        self.untold = {
            source_id: {name: getattr(totals, name) for name in UNTOLD} for source_id, totals in after.items()
        }
        if self.complete:
            for source_id in sorted(before.keys() | after.keys() | self.statuses.keys()):
                self._compare(source_id, before.get(source_id, Totals()), after.get(source_id, Totals()), problem)

    def _compare(self, source_id: str, before: Totals, after: Totals, problem: OnProblem) -> None:
        """Check that each recounted number lies between `after` without what came, and `before` with what came."""
        events = self.statuses.get(source_id, [0] * len(EventStatus))
        grown = {name: getattr(after, name) - getattr(before, name) for name in COUNTERS}
        came = sum(grown[name] for name in (*NEW, *REOPENED))
        left = before.receipts_left, after.receipts_left
        new = [sum(getattr(each, name) for name in NEW) for each in (before, after)]
        replays = self.replays.get(source_id, 0)
        found = {
            " + ".join(NEW): (sum(events), new[0] - left[1], new[1] - left[0]),
            "replayed": (replays, before.replayed - left[1], after.replayed),
            "expired": (self.expired.get(source_id, 0), before.expired - left[1], after.expired - left[0]),
        }
        for gauge in GAUGES:
            moved = grown["dead"] if gauge == "dead_now" else came
            now = held(gauge, events) - (self.unlisted.get(source_id, 0) if gauge == "dead_now" else 0)
            found[gauge] = now, getattr(after, gauge) - moved, getattr(before, gauge) + moved
        for status in ENDED:
            name = RULES[status].counted
            low, high = getattr(before, name), getattr(after, name)
            for less in (*GONE_OF[status], EXPIRED_OF[status]):
                low, high = low - getattr(after, less), high - getattr(before, less)
            found[" - ".join((name, *GONE_OF[status]))] = events[status], low, high
        for name, (count, low, high) in found.items():
            if not low <= count <= high:
                total = str(low) if low == high else f"{low} to {high}"
                problem(f"meta, totals of {source_id}: {name} is {total}, the records say {count}")
