"""How long a test waits for what must come: a limit that only a hang can reach, on the slowest machine too."""

import inspect
import time
from collections.abc import Callable

HANG_SECONDS = 180.0
"""No test waits for a time; what it waits for has come long before, or never will."""

_POLL_SECONDS_MAX = 0.2


def eventually(predicate: Callable[[], object], seconds: float = HANG_SECONDS) -> None:
    """Return when it is true; an AssertionError if that takes longer. It asks less and less often, so as not to take
    the processor from what it waits for."""
    deadline, pause = time.monotonic() + seconds, 0.005
    while not predicate():
        assert time.monotonic() < deadline, f"not true within {seconds:g} s: {inspect.getsource(predicate).strip()}"
        time.sleep(pause)
        pause = min(pause * 1.5, _POLL_SECONDS_MAX)
