"""What a process that a processor forks must not keep of the server: its lock, its connections, its signal handlers.

Such a process (`multiprocessing` with `fork`, `ProcessPoolExecutor`) may outlive a server that was killed. With the
lock of the store in its hands no server could start; with the sockets clients would wait for answers that nobody gives.
"""

import os
import signal
import socket
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

FILES_LOOKED_AT = 65536
"""Where the system does not list a process's open files: as many as a server can have connections, in 0.1 s."""


def let_go_in_children(lock: Path, ports: Collection[int]) -> None:
    """Make every process forked from now on let go of this lock and of all sockets at these ports of ours.

    Raises OSError if there are no two descriptors to keep for that: at the fork there may be none left.
    """
    found = lock.stat()
    os.register_at_fork(after_in_child=_LettingGo((found.st_dev, found.st_ino), frozenset(ports)))


class _LettingGo:
    """Does so, in the child. The parent's own descriptors stay open, so its lock stays taken and its sockets go on.

    Raises nothing, and does nothing in a child of the child, which has none of it.
    """

    def __init__(self, lock: tuple[int, int], ports: Collection[int]) -> None:
        self._lock = lock
        self._ports = ports
        self._nothing, self._spare = (os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC) for _ in range(2))
        self._is_done = False

    def __call__(self) -> None:
        if self._is_done:
            return
        self._is_done = True
        _forget_signals()
        os.close(self._spare)  # listing needs one
        for file in _open_files():
            if _is_the_servers(file, self._lock, self._ports):
                self._replace(file)
        os.close(self._nothing)

    def _replace(self, file: int) -> None:
        """Not closed if it can be helped: an object that is in the child closes it again."""
        try:
            os.dup2(self._nothing, file, inheritable=False)
        except OSError:  # a limit that is below its number
            os.close(file)


def _open_files() -> Iterable[int]:
    try:
        return [int(path.name) for path in Path("/dev/fd").iterdir()]
    except OSError:
        return range(FILES_LOOKED_AT)


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
    except OSError:  # such as the one that listed the descriptors, which is closed already
        return False


def _port(file: int) -> int | None:
    """Return the port of this socket on our side; None if it has none."""
    sock = socket.socket(fileno=file)
    try:
        name = sock.getsockname()
        return name[1] if sock.family in {socket.AF_INET, socket.AF_INET6} else None
    finally:
        sock.detach()
