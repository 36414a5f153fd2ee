"""Slices of the processor: who answers deliveries goes first where cores are few.

Linux 6.6 and later lets a thread run on for its slice, by default 3 ms, though another one wakes; from 6.12 on, one
whose slice is shorter than that of the running thread interrupts it. So threads whose work may wait take long slices.
They get as much of the processor as before. A low priority (`nice`) would not do: a thread that holds the interpreter's
lock would wait for any other process that computes, and all of the server with it.
"""

import ctypes
import os
import platform
import threading

LONG_SLICE_SECONDS = 0.02
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""Numbers of the call; the C library has no function for it before glibc 2.41."""
_RESET_ON_FORK = 1
"""What is started from the thread has the usual slices."""


class Attributes(ctypes.Structure):
    """`struct sched_attr` of sched_setattr(2)."""

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


def take_long_slices() -> bool:
    """Let others interrupt the calling thread as soon as they wake; return whether the system took it. Earlier kernels
    take it and do nothing; a sandbox may refuse it."""
    number = _SCHED_SETATTR.get(platform.machine())
    policy = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK
    if number is None or policy not in (os.SCHED_OTHER, os.SCHED_BATCH):
        return False
    attributes = Attributes(
        size=ctypes.sizeof(Attributes),
        policy=policy,
        flags=_RESET_ON_FORK,
        nice=os.getpriority(os.PRIO_PROCESS, threading.get_native_id()),
        runtime_ns=int(LONG_SLICE_SECONDS * 1e9),
    )
    refused: int = ctypes.CDLL(None).syscall(ctypes.c_long(number), 0, ctypes.byref(attributes), 0)
    return refused == 0
