"""A histogram in plain numbers: cheap to update on the hot path, exported only on request."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts observations by upper bounds (the last bucket, +Inf, is implied)."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper bounds for durations: from a commit on a fast disk to a processor at its default timeout."""

EVENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000)
"""Upper bounds for events in a transaction."""
