"""What a process that a processor forks must not keep of the server: its lock, its connections, its signal handlers.

Such a process (`multiprocessing` with `fork`, `ProcessPoolExecutor`) may outlive a server that was killed. With the
lock of the store in its hands no server could start; with the sockets clients would wait for answers that nobody gives.
"""

import os
import signal
import socket
import stat
from collections.abc import Collection
from functools import partial
from pathlib import Path


def let_go_in_children(lock: Path, ports: Collection[int]) -> None:
    """Make every process forked from now on let go of this lock and of all sockets at these ports of ours."""
    found = lock.stat()
    os.register_at_fork(after_in_child=partial(_let_go, (found.st_dev, found.st_ino), frozenset(ports)))


def _let_go(lock: tuple[int, int], ports: Collection[int]) -> None:
    """Do so, in the child. The parent's own descriptors stay open, so its lock stays taken and its sockets go on."""
    _forget_signals()
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for file in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if _is_the_servers(file, lock, ports):
            os.dup2(nothing, file, inheritable=False)  # not closed: an object that is in the child closes it again
    os.close(nothing)


def _forget_signals() -> None:
    """Set them as Python does at its start, and write nothing into the wake-up pipe, which is the parent's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _is_the_servers(file: int, lock: tuple[int, int], ports: Collection[int]) -> bool:
    try:
        found = os.fstat(file)
        return (found.st_dev, found.st_ino) == lock or (stat.S_ISSOCK(found.st_mode) and _port(file) in ports)
    except OSError:  # the one that listed the descriptors is closed already
        return False


def _port(file: int) -> int | None:
    """Return the port of this socket on our side; None if it has none."""
    sock = socket.socket(fileno=file)
    try:
        name = sock.getsockname()
        return name[1] if sock.family in {socket.AF_INET, socket.AF_INET6} else None
    finally:
        sock.detach()
