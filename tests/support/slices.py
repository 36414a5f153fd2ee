"""How long a slice of the processor the calling thread gets."""

import ctypes
import platform

import pytest

from server.base.slices import Attributes

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275, "riscv64": 275}
FIRST_KERNEL = (6, 12)
"""Which lets threads choose."""

needs_slices = pytest.mark.skipif(
    platform.machine() not in SCHED_GETATTR or tuple(map(int, platform.release().split(".")[:2])) < FIRST_KERNEL,
    reason="the kernel does not let threads choose their slices",
)


def slice_seconds() -> float:
    """Raises OSError where the system does not tell."""
    found = Attributes()
    number = ctypes.c_long(SCHED_GETATTR[platform.machine()])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, 0, ctypes.byref(found), ctypes.sizeof(found), 0) != 0:
        raise OSError(ctypes.get_errno(), "sched_getattr")
    return float(found.runtime_ns) / 1e9
