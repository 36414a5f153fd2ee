"""The first step of the `tidegate` command: what signals do until the command itself handles them.

Nothing but this is imported before that, since the imports of a server take most of its start.
"""

import os
import signal
import sys
from types import FrameType

from server.cli.exit_codes import INTERRUPTED


def main() -> int:
    """Run the command that the arguments name; return its exit code."""
    if sys.argv[1:2] == ["serve"]:
        _until_ready()
    try:
        from server.cli.main import main as run  # noqa: PLC0415 - see above

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


def _until_ready() -> None:
    """A server that starts has nothing in hand: SIGTERM and SIGINT end it, and SIGHUP has nothing to reload yet."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    """End at once: whatever was begun is as after a crash, which the next start repairs."""
    os._exit(0)
