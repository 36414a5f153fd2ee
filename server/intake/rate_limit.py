"""The rate limit of a source: GCRA in whole numbers, so that no rate drifts, however low or high.

Time is counted in units of 1/p ns, where p/q is the rate as a fraction: an event then costs exactly 10⁹·q units.
"""

from fractions import Fraction

SECOND_NS = 1_000_000_000


class Gcra:
    """Admits at most burst + rate·t events in any stretch of t seconds. The caller brings the time, monotonic."""

    def __init__(self, events_per_second: float, burst_events: int = 0) -> None:
        """A rate of 0 is no limit; a burst of 0 is one second's worth, rounded down, at least 1."""
        self._units_per_ns = 1
        self._cost = 0  # of one event; 0 is no limit
        self._tolerance = 0  # what a whole burst costs
        self._full_at = 0  # when all tokens will be there again
        self._seen_at = 0
        self.reconfigure(events_per_second, burst_events)

    def take(self, n: int, now_ns: int) -> int:
        """How many of `n` events may go now: the first that many, and they are charged."""
        if not self._cost:
            return n
        now = self._seen_at = now_ns * self._units_per_ns
        full_at = max(self._full_at, now)
        admitted = max(0, min(n, (now + self._tolerance - full_at) // self._cost))
        self._full_at = full_at + admitted * self._cost
        return admitted

    def has(self, n: int, now_ns: int) -> bool:
        """Whether `take` would admit all of `n`."""
        now = now_ns * self._units_per_ns
        return not self._cost or max(self._full_at, now) + n * self._cost <= now + self._tolerance

    def wait_ns(self, n: int, now_ns: int) -> int:
        """How long until `n` tokens will be there, or a full burst where `n` is more than that; 0 if they are."""
        if not self._cost:
            return 0
        now = now_ns * self._units_per_ns
        ready_at = max(self._full_at, now) + min(n * self._cost, self._tolerance) - self._tolerance
        return max(0, -((now - ready_at) // self._units_per_ns))

    def reconfigure(self, events_per_second: float, burst_events: int) -> None:
        """Another limit from now on. A reload gives no tokens away: the bucket is full again at the same time as
        before, but not later than an empty one at the new rate, counted from the last `take`. Raises ValueError.
        """
        if not events_per_second >= 0 or burst_events < 0:
            raise ValueError("a rate and a burst are not negative")
        rate = Fraction(str(events_per_second))
        before, self._units_per_ns = self._units_per_ns, rate.numerator or 1
        self._cost = SECOND_NS * rate.denominator if rate else 0
        self._tolerance = self._cost * (burst_events or max(1, int(rate)))
        self._seen_at = self._seen_at * self._units_per_ns // before
        full_at = -(-self._full_at * self._units_per_ns // before)
        self._full_at = min(full_at, self._seen_at + self._tolerance)
