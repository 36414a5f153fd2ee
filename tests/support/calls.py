"""What something costs in calls: the same on every machine."""

import sys
from collections import Counter
from collections.abc import Callable


def calls_in(run: Callable[[], object]) -> int:
    """Return how many functions of Python are called; a look at each item by a generator counts as none."""
    calls: Counter[str] = Counter()
    sys.setprofile(lambda frame, event, _: calls.update([frame.f_code.co_name]) if event == "call" else None)
    try:
        run()
    finally:
        sys.setprofile(None)
    del calls["<genexpr>"]
    return calls.total()
