"""PID 1 of a container: forwards signals to the server, its child, and reaps what nobody else does.

Processes whose parents have ended become children of PID 1, and stay as zombies until it waits for them. The server
cannot do so by itself: it would take the exit codes of its processors' own children away from those who wait for them.
"""

import os
import signal
import sys

FAULTS = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
"""What a process brings upon itself: nothing to wait for, or to forward."""


def go_on_as_child() -> None:
    """Return in a child; this process becomes its init, which ends when the child does, with its exit code.

    Exits where there is none to be had. Call before anything starts a thread. The child handles signals as this
    process did.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)
    try:
        child = os.fork()
    except OSError as error:
        sys.exit(f"tidegate: no process can be had for the server: {error.strerror}")
    if child:
        os._exit(_wait_as_init(child))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait_as_init(server: int) -> int:
    """Return the exit code of the server, as a shell would report it."""
    while True:
        heard = signal.sigwaitinfo(signal.valid_signals() - FAULTS)
        if heard.si_signo == signal.SIGCHLD:
            code = _reap(server)
            if code is not None:
                return code
        elif heard.si_code <= 0:  # sent by a process; what the kernel sends for a terminal, the server gets as well
            os.kill(server, heard.si_signo)


def _reap(server: int) -> int | None:
    """Wait for all that have ended; return the server's exit code if it is one of them."""
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if not ended:
            return None
        if ended == server:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
