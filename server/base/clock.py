"""Time, passed in wherever it is needed."""

import time


class Clock:
    """The real clock. Tests pass one that stands still."""

    def now_ms(self) -> int:
        """Return the wall clock in milliseconds since the epoch, for what is stored."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Return a clock that never goes back, in nanoseconds, for measuring limits."""
        return time.monotonic_ns()
