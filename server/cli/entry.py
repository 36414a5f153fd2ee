"""The first step of the `tidegate` command: what signals do until the command itself is there to say it.

Nothing but this is imported before that, since the imports of a server take most of its start.
"""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> int:
    """Run the command that the arguments name; its exit code."""
    if sys.argv[1:2] == ["serve"]:
        _until_ready()
    try:
        from server.cli.main import main as run  # noqa: PLC0415 - see above

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


def _until_ready() -> None:
    """A server that starts has nothing in hand: SIGTERM and SIGINT end it, and SIGHUP means the file it is reading."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    """Whatever was begun is as after a crash, which a start repairs."""
    os._exit(0)
