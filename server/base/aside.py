"""Work that nobody who sends waits for gives way to what they do wait for.

While a thread computes, each other one waits for the interpreter's lock, by default up to 5 ms each time that it needs
it. A delivery needs it some ten times, since each call into the system gives it away. So while there is such work,
whoever waits asks for the lock much sooner. It is not always so, since that costs: with 0.5 ms at all times single
webhooks lost 2 % of their rate, and batches of ten 7 % (medians of six pairs of runs of `bench.compare`, 2 cores of an
AMD EPYC).
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

GIVE_WAY_SECONDS = 0.0001
"""A fiftieth of CPython's default. With the page, a scrape, a follower and an export beside 200 deliveries a second,
the 99th percentile was 1.16 times the one without at a tenth, and 1.06 times with this (`bench.watched`, there too).
"""

REST_SECONDS_MIN = 0.004

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
    """Of such work by one thread that is done in steps, with rests between them, `rests` times as long as the work.
    None is shorter than REST_SECONDS_MIN, since each costs: what was in the caches is gone after it."""

    def __init__(self, rests: float) -> None:
        self._rests = rests
        self._due_seconds = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Rest if it is time, then do the work of the block."""
        if self._due_seconds >= REST_SECONDS_MIN:
            time.sleep(self._due_seconds)
            self._due_seconds = 0.0
        started = time.monotonic()
        yield
        self._due_seconds += self._rests * (time.monotonic() - started)
