"""Work that nobody who sends waits for gives way to what they do wait for.

While a thread computes, each other one waits for the interpreter's lock, by default up to 5 ms each time that it needs
it; and a delivery needs it several times. So while there is such work, whoever waits asks for the lock much sooner. At
all times that would cost: single webhooks 2 % of their rate, and batches of ten 6 %.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GIVE_WAY_SECONDS = 0.0005
"""A tenth of CPython's default."""

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
