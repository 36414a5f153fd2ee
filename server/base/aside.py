"""Work that no sender waits for gives way to deliveries.

While a thread computes, each other one waits for the interpreter's lock, by default up to 5 ms each time that it needs
it. A delivery needs it some ten times, since each call into the system gives it away. So while there is such work,
whoever waits asks for the lock much sooner. It is not so at all times, since that costs: with 0.5 ms single webhooks
lost 2 % of their rate, and batches of ten 7 % (medians of six pairs of runs of `bench.compare` on 2 cores of an AMD
EPYC).

Plain processors do not give way: under full load they work at all times.
"""

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

GIVE_WAY_SECONDS = 0.0001
"""With the page, a scrape, a follower and an export beside 200 deliveries a second, the 99th percentile was 1.16 times
the one without at 0.5 ms, and 1.06 times at 0.1 ms: one run of `bench.watched` each, 2 cores of an AMD EPYC."""
REST_SECONDS_MIN = 0.004
"""Shorter rests are put together: each costs, since what was in the caches is gone after it."""

_lock = threading.Lock()
_blocks = 0
_usual_seconds = 0.0


@contextmanager
def giving_way() -> Iterator[None]:
    """Let whoever waits for the interpreter's lock have it soon, until all such blocks have ended."""
    global _blocks, _usual_seconds  # noqa: PLW0603  # the interpreter has one interval for all of its threads
    with _lock:
        if _blocks == 0:
            _usual_seconds = sys.getswitchinterval()
            sys.setswitchinterval(GIVE_WAY_SECONDS)
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                sys.setswitchinterval(_usual_seconds)


class Pace:
    """Of such work by one thread that is done in steps, with rests between them: `rests` times as long as the work, but
    at most `rest_seconds_max` in all."""

    def __init__(self, rests: float, rest_seconds_max: float = math.inf) -> None:
        self._rests = rests
        self._left_seconds = rest_seconds_max
        self._due_seconds = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Rest if it is time, then do the work of the block, giving way."""
        if self._due_seconds >= REST_SECONDS_MIN:
            rest_seconds = min(self._due_seconds, self._left_seconds)
            time.sleep(rest_seconds)
            self._left_seconds -= rest_seconds
            self._due_seconds = 0.0
        started = time.monotonic()
        with giving_way():
            yield
        self._due_seconds += self._rests * (time.monotonic() - started)
