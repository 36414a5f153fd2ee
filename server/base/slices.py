"""Slices of the processor: how work that no sender waits for gives way to deliveries where cores are few.

Linux 6.6 and later lets a thread run on for its slice (0.7 to 3 ms, by the number of cores) though another one wakes;
from 6.12 on, one whose slice is shorter may interrupt it. So threads of such work take long slices. They have the same
share of the processor as before. A low priority (`nice`) would not do: while such a thread holds the interpreter's
lock, the server would wait for any other process that computes.
"""

import ctypes
import os
import platform

LONG_SLICE_SECONDS = 0.006
"""Longer than any usual slice, and little more: a kernel may let one end even so, and a delivery waits that long."""
SCHED_SETATTR_AND_GETATTR = {"x86_64": (314, 315), "aarch64": (274, 275), "riscv64": (274, 275)}
"""Numbers of the two calls, of 64-bit programs; the C library has no functions for them before glibc 2.41."""


class Attributes(ctypes.Structure):
    """`struct sched_attr` of sched_setattr(2), as it was at first."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def read() -> Attributes | None:
    """Return the attributes of the calling thread, `runtime_ns` being its slice (0: the kernel lets nobody choose);
    None where they cannot be had: another machine, a sandbox."""
    found = Attributes()
    return found if _call(1, ctypes.byref(found), ctypes.sizeof(found), 0) else None


def write(attributes: Attributes) -> bool:
    """Set those of the calling thread; return whether the system took them."""
    return _call(0, ctypes.byref(attributes), 0)


def take_long_slices() -> bool:
    """Let others interrupt the calling thread as soon as they wake; return whether the system took it. Earlier kernels
    take it and do nothing. What the operator chose, priority or another policy, stays."""
    attributes = read()
    if attributes is None or attributes.policy != os.SCHED_OTHER:
        return False
    attributes.runtime_ns = int(LONG_SLICE_SECONDS * 1e9)
    return write(attributes)


def _call(which: int, *arguments: object) -> bool:
    numbers = SCHED_SETATTR_AND_GETATTR.get(platform.machine())
    if numbers is None or ctypes.sizeof(ctypes.c_long) != 8:
        return False
    try:
        failed: int = ctypes.CDLL(None).syscall(ctypes.c_long(numbers[which]), 0, *arguments)
    except (OSError, AttributeError):  # a Python without a C library that can be loaded
        return False
    return failed == 0
