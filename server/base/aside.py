"""Work that no sender waits for gives way to deliveries.

While a thread computes, each other one waits for the interpreter's lock, by default up to 5 ms each time that it needs
it. A delivery needs it some ten times, since each call into the system gives it away. So while there is such work,
whoever waits asks for the lock much sooner. It is not so at all times, since that costs: with 0.5 ms single webhooks
lost 2 % of their rate, and batches of ten 7 % (medians of six pairs of runs of `bench.compare` on 2 cores of an AMD
EPYC).

Threads of such work also let others interrupt them sooner, which counts where cores are few (`slices.py`). That is not
enough where the thread of the deliveries has worked more than its share of late, so what followers and scrapes get is
made in loops that also offer both, lock and processor, each time round (`give_way`).

Plain processors do not give way: under full load they work at all times.
"""

import os
import sys
import threading

GIVE_WAY_SECONDS = 0.0001
"""Ten times this is what a delivery then waits for the lock."""

_lock = threading.Lock()
_begun = 0
_usual_seconds = 0.0


def begin_giving_way() -> None:
    """Let whoever waits for the interpreter's lock have it soon, until `end_giving_way` was called as often. To be
    called before the work gets its thread: who waits asks anew only after the interval that held when its wait began.
    """
    global _begun, _usual_seconds  # noqa: PLW0603  # the interpreter has one interval for all of its threads
    with _lock:
        if _begun == 0:
            _usual_seconds = sys.getswitchinterval()
            sys.setswitchinterval(GIVE_WAY_SECONDS)
        _begun += 1


def end_giving_way() -> None:
    """Take one `begin_giving_way` back."""
    global _begun  # noqa: PLW0603  # as above
    with _lock:
        _begun -= 1
        if _begun == 0:
            sys.setswitchinterval(_usual_seconds)


def give_way() -> None:
    """Offer the interpreter's lock and the processor to whoever waits for them. Takes 1 µs if nobody does."""
    os.sched_yield()
