"""The entry point of the `tidegate` command: handles signals until the command does so itself.

Nothing else is imported before, since imports are most of a server's start.
"""

import os
import signal
import sys
from types import FrameType

from server.cli.exit_codes import INTERRUPTED


def main() -> int:
    """Run the command that the arguments name; return its exit code."""
    _open_standard_files()
    if sys.argv[1:2] == ["serve"]:
        _exit_on_early_signals()
        if os.getpid() == 1:
            from server.cli.init import go_on_as_child  # noqa: PLC0415 - see above

            go_on_as_child()
    try:
        from server.cli.main import main as run  # noqa: PLC0415 - see above

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


def _open_standard_files() -> None:
    """Open on /dev/null what is closed of stdin, stdout and stderr: else the store's file could get its number."""
    for file, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(file)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number, which is this one
            setattr(sys, name, open(file, "r" if file == 0 else "w", closefd=False))  # noqa: SIM115


def _exit_on_early_signals() -> None:
    """Let SIGTERM and SIGINT end a starting server, which has no work in progress; ignore SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    """Exit at once, as in a crash; the next start recovers."""
    os._exit(0)
