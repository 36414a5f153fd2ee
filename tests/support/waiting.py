"""How tests wait: for an event, with a limit that only a hang can reach, leaving the CPU to what they wait for."""

import inspect
import time
from collections.abc import Callable, Iterator

import trio

HANG_SECONDS = 300
"""Whatever takes this long hangs. Every wait in the tests has this limit: a slow machine is not a fault."""

NEVER_SECONDS = 10 * HANG_SECONDS
"""What a server under test is told for its own limits, unless the test is about one: the test gives up first."""

FIRST_PAUSE_SECONDS = 0.002
LONGEST_PAUSE_SECONDS = 0.1


def eventually(predicate: Callable[[], object]) -> None:
    """Return when it is true; raise AssertionError if it never is."""
    pauses, started = _pauses(), time.monotonic()
    while not predicate():
        _give_up_after(started, predicate)
        time.sleep(next(pauses))


async def until(predicate: Callable[..., object]) -> None:
    """Return when it is true, after what other tasks and threads do; raise AssertionError if it never is.

    Trio's clock may be a mock one that stands still, so the pauses, which are for the threads, are the thread's own.
    """
    pauses, started = _pauses(), time.monotonic()
    while not predicate():
        _give_up_after(started, predicate)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        time.sleep(next(pauses) / 20)  # noqa: ASYNC251 - see above


def _pauses() -> Iterator[float]:
    pause = FIRST_PAUSE_SECONDS
    while True:
        yield pause
        pause = min(1.5 * pause, LONGEST_PAUSE_SECONDS)


def _give_up_after(started: float, predicate: Callable[..., object]) -> None:
    if time.monotonic() - started > HANG_SECONDS:
        raise AssertionError(f"not true within {HANG_SECONDS} s: {inspect.getsource(predicate).strip()}")
