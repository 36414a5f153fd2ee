"""How long a slice of the processor a thread gets, and whether it may choose."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from server.base import slices

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> T:
    """Call it in a thread of its own, since all of this holds for threads."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def slice_seconds() -> float:
    """Of the calling thread; 0 where it cannot choose."""
    found = slices.read()
    return 0.0 if found is None else float(found.runtime_ns) / 1e9


def _may_choose() -> bool:
    found = slices.read()
    return found is not None and found.runtime_ns > 0 and found.policy == 0 and slices.write(found)


MAY_CHOOSE = in_thread(_may_choose)
needs_slices = pytest.mark.skipif(not MAY_CHOOSE, reason="threads may not choose their slices here")
"""Not before Linux 6.12, on machines whose numbers of the calls are not known, and where a sandbox refuses them."""
