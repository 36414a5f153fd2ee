"""What a supervisor sends and hears: signals, and the readiness message of systemd.

SIGTERM and SIGINT are plain signal handlers, not trio's receiver: a processor that blocks the loop would hide the
signal from that one. The handler wakes trio and a daemon thread which ends the process at the deadline. That thread is
taken at the start: when a drain begins there may be none to be had.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

import trio

from server.base import log
from server.base.terminal import Terminal
from server.base.worker import start_thread

SAME_SECONDS = 0.2
"""A signal that comes once more so soon is the same one: who ends a whole group, as GNU timeout does, sends it to the
server and to its group."""
TERMINAL_SECONDS = 1.0
"""How often a server in the foreground of a terminal looks whether that is still there."""


@contextmanager
def drain_on_signals(
    drain: Callable[[], None],
    ending: Callable[[], None],
    timeout_seconds: float,
    in_hand: Callable[[], str],
    say_last: Callable[[str], None],
) -> Iterator[None]:
    """Within the block, SIGTERM or SIGINT calls `ending` in the handler, and `drain` on the trio thread.

    When that has not ended the process after `timeout_seconds`, it exits 0 all the same: what is left is on disk.
    `in_hand` tells what that is, for a last line by `say_last`. A second signal says so and exits 1 at once, unless it
    is the first one again (SAME_SECONDS). Made inside `trio.run`, on the main thread. Raises NoThread.
    """
    token = trio.lowlevel.current_trio_token()
    signalled: list[tuple[int, float]] = []
    begun: SimpleQueue[int] = SimpleQueue()  # a handler may interrupt another one's `put`

    def give_up() -> None:
        begun.get()
        time.sleep(timeout_seconds)
        say_last(f"the drain deadline of {timeout_seconds:g} s is over; left in hand: {in_hand()}")
        os._exit(0)

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of a handler
        ending()
        now = time.monotonic()
        if signalled and signalled[0][0] == number and now - signalled[0][1] < SAME_SECONDS:
            return
        if signalled:
            say_last(f"a second signal ends the drain; left in hand: {in_hand()}")
            os._exit(1)
        signalled.append((number, now))
        begun.put(number)
        token.run_sync_soon(drain)

    start_thread(give_up, "drain deadline")
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    _undo_what_modules_did()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _undo_what_modules_did() -> None:
    """Take back what the modules of processors, or who started this process, have set for signals: a log without a
    reader must not end it, and it must hear what it is told."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


class HangUp:
    """Drains, as at SIGTERM, when the terminal of this process has gone. Made before SIGHUP has its handler."""

    def __init__(self, is_draining: Callable[[], bool]) -> None:
        self._terminal = Terminal()
        self._is_draining = is_draining
        self._is_done = False

    def is_one(self) -> bool:
        """Return whether the terminal has gone, and drain if it has; call at a SIGHUP."""
        is_gone = self._terminal.is_gone
        if is_gone:
            self._drain()
        return is_gone

    async def watch(self) -> None:
        """Drain when the terminal has gone from under a process in its foreground, SIGHUP or none.

        The kernel sends one to the first process of the terminal alone. If that is make, it waits for the server.
        """
        while self._terminal.ends_us and not self._is_done:
            await trio.sleep(TERMINAL_SECONDS)
            if self._terminal.is_gone_from_front:
                self._drain()

    def _drain(self) -> None:
        if not self._is_done and not self._is_draining():
            log.get("tidegate").info("the terminal has gone")
            signal.raise_signal(signal.SIGTERM)
        self._is_done = True


def notify(state: str) -> None:
    """Tell the supervisor that asked for it (`NOTIFY_SOCKET`, the protocol of sd_notify); nothing elsewhere."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with (
        contextlib.suppress(OSError),  # a supervisor that does not listen is no reason to stop, nor is a full table
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())
