"""Time, passed in wherever it is needed."""

import time

WALL_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999: the last that RFC 3339 can write."""


def wall_ms() -> int:
    """Return the wall clock in milliseconds since the epoch, from 1970 to 9999, for people to read."""
    return min(max(0, time.time_ns() // 1_000_000), WALL_MS_MAX)


class Clock:
    """The real clock. Tests pass one that stands still."""

    def now_ms(self) -> int:
        """Return `wall_ms`."""
        return wall_ms()

    def monotonic_ns(self) -> int:
        """Return a clock that never goes back, in nanoseconds, for measuring limits."""
        return time.monotonic_ns()
