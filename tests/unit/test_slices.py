"""Slices of the processor: threads that nobody waits for let others go first."""

import ctypes
import os
import threading

import pytest

from server.base import slices
from server.base.slices import LONG_SLICE_SECONDS, Attributes, take_long_slices
from tests.support.slices import in_thread, needs_slices, slice_seconds


@needs_slices
def test_a_thread_takes_long_slices_alone() -> None:
    """Others keep the usual ones, which are shorter."""

    def taken() -> float:
        assert take_long_slices()
        return slice_seconds()

    usual = in_thread(slice_seconds)
    assert in_thread(taken) == LONG_SLICE_SECONDS
    assert in_thread(slice_seconds) == usual < LONG_SLICE_SECONDS


@needs_slices
@pytest.mark.parametrize("flag", [0, os.SCHED_RESET_ON_FORK])
def test_what_the_operator_chose_stays(flag: int) -> None:
    """The priority, and whether it holds for children."""

    def priorities() -> tuple[int, int]:
        thread = threading.get_native_id()
        os.sched_setscheduler(thread, os.SCHED_OTHER | flag, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, thread, 19)
        assert take_long_slices()
        return os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)

    assert in_thread(priorities) == (os.SCHED_OTHER | flag, 19)


@needs_slices
@pytest.mark.parametrize("policy", [os.SCHED_BATCH, os.SCHED_IDLE])
def test_other_policies_are_left_alone(policy: int) -> None:
    """Theirs are other rules."""

    def other() -> tuple[bool, int]:
        os.sched_setscheduler(threading.get_native_id(), policy, os.sched_param(0))
        return take_long_slices(), os.sched_getscheduler(threading.get_native_id())

    assert in_thread(other) == (False, policy)


def test_no_slices_where_the_system_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and nothing is raised: a sandbox, a machine whose numbers are not known, no C library, 32 bits."""
    with monkeypatch.context() as patch:
        patch.setattr(slices, "write", lambda _: False)
        assert in_thread(take_long_slices) is False
    with monkeypatch.context() as patch:
        patch.setattr("platform.machine", lambda: "pdp11")
        assert in_thread(take_long_slices) is False
    with monkeypatch.context() as patch:
        patch.setattr(
            slices, "SCHED_SETATTR_AND_GETATTR", dict.fromkeys(slices.SCHED_SETATTR_AND_GETATTR, (9999, 9999))
        )
        assert in_thread(take_long_slices) is False
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", _no_library)
        assert in_thread(take_long_slices) is False
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "c_long", ctypes.c_int32)
        assert in_thread(take_long_slices) is False


def _no_library(_: object) -> None:
    raise OSError("this Python has none")


def test_the_structure_is_the_kernels() -> None:
    """Its first version, without padding."""
    assert ctypes.sizeof(Attributes) == 48
    assert Attributes.runtime_ns.offset == 24
