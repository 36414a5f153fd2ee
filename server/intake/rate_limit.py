"""The rate limit of a source: GCRA in integers, so that no rate drifts, however low or high.

Time is counted in units of 1/p ns, where p/q is the rate as a fraction: an event then costs exactly 10⁹·q units.
"""

from fractions import Fraction

SECOND_NS = 1_000_000_000


class Gcra:
    """Admits at most burst + rate·t events in any t seconds. The caller passes the time, which is monotonic."""

    def __init__(self, events_per_second: float, burst_events: int = 0) -> None:
        """Start with a full bucket. Rate 0 means no limit; burst 0, one second's worth, rounded down but at least 1."""
        self._units_per_ns = 1
        self._cost = 0  # of one event; 0 means no limit
        self._tolerance = 0  # what a whole burst costs
        self._full_at = 0  # when the bucket will be full again
        self._owed_until = 0  # the same if no reload had ever made the bucket smaller
        self._seen_at = 0
        self.reconfigure(events_per_second, burst_events)

    def admit(self, n: int, now_ns: int) -> int:
        """Return how many of `n` events are admitted now, and charge for them."""
        if not self._cost:
            return n
        now = self._seen_at = now_ns * self._units_per_ns
        full_at = max(self._full_at, now)
        admitted = max(0, min(n, (now + self._tolerance - full_at) // self._cost))
        self._full_at = full_at + admitted * self._cost
        self._owed_until = max(self._owed_until, now) + admitted * self._cost
        return admitted

    def would_admit(self, n: int, now_ns: int) -> bool:
        """Return whether `admit` would admit all of `n`; charge nothing."""
        now = now_ns * self._units_per_ns
        return not self._cost or max(self._full_at, now) + n * self._cost <= now + self._tolerance

    def wait_ns(self, n: int, now_ns: int) -> int:
        """Return how long until `n` tokens are available, or a full burst if `n` exceeds that; 0 if they are now."""
        if not self._cost:
            return 0
        now = now_ns * self._units_per_ns
        ready_at = max(self._full_at, now) + min(n * self._cost, self._tolerance) - self._tolerance
        return max(0, -((now - ready_at) // self._units_per_ns))

    def reconfigure(self, events_per_second: float, burst_events: int) -> None:
        """Set another limit. A reload gives no tokens away: the bucket is full again at the same time as before, but no
        later than an empty one at the new rate, counted from the last `admit`. What a smaller bucket forgives is owed
        again if a later reload makes it larger. Raises ValueError for negative values.
        """
        if not events_per_second >= 0 or burst_events < 0:
            raise ValueError("rate and burst must not be negative")
        rate = Fraction(str(events_per_second))
        before, self._units_per_ns = self._units_per_ns, rate.numerator or 1
        cost = SECOND_NS * rate.denominator if rate else 0
        tolerance = cost * (burst_events or max(1, int(rate)))
        if (before, self._cost, self._tolerance) == (self._units_per_ns, cost, tolerance):
            return
        self._cost, self._tolerance = cost, tolerance
        self._seen_at = self._seen_at * self._units_per_ns // before
        self._owed_until = -(-self._owed_until * self._units_per_ns // before)
        self._full_at = min(self._owed_until, self._seen_at + self._tolerance)
