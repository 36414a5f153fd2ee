"""Time, handed in wherever it is needed."""

import time


class Clock:
    """The real clock. Tests hand in one that stands still."""

    def now_ms(self) -> int:
        """Return the wall clock, in milliseconds since the epoch: what is written down."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Return nanoseconds of a clock that never goes back: what limits are measured with."""
        return time.monotonic_ns()
