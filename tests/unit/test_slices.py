"""Slices of the processor: threads that nobody waits for let others go first."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from server.base.slices import LONG_SLICE_SECONDS, take_long_slices
from tests.support.slices import needs_slices, slice_seconds

T = TypeVar("T")


def in_thread(function: Callable[[], T]) -> T:
    """Call it in a thread of its own, since all of this holds for threads."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@needs_slices
def test_a_thread_takes_long_slices_alone() -> None:
    """It does; a thread that it starts has the usual ones."""

    def slices() -> tuple[float, float]:
        assert take_long_slices()
        return slice_seconds(), in_thread(slice_seconds)

    usual = in_thread(slice_seconds)
    assert in_thread(slices) == (LONG_SLICE_SECONDS, usual)
    assert usual < LONG_SLICE_SECONDS


@pytest.mark.parametrize("policy", [os.SCHED_OTHER, os.SCHED_BATCH])
def test_priorities_stay_as_they_were(policy: int) -> None:
    """The operator may have set them."""

    def priorities() -> tuple[int, int]:
        thread = threading.get_native_id()
        os.sched_setscheduler(thread, policy | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, thread, 7)
        assert take_long_slices()
        return os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK, os.getpriority(os.PRIO_PROCESS, thread)

    assert in_thread(priorities) == (policy, 7)


def test_other_policies_are_left_alone() -> None:
    """Theirs are other rules."""

    def idle() -> tuple[bool, int]:
        thread = threading.get_native_id()
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
        return take_long_slices(), os.sched_getscheduler(thread)

    assert in_thread(idle) == (False, os.SCHED_IDLE)


def test_unknown_machines_have_usual_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is called where the number of the call is not known."""
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert in_thread(take_long_slices) is False
