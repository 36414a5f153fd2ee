"""How a command fails, and what it says to people."""

import os
import sys
from typing import TextIO

from server.base.printable import printable


class CommandFailed(Exception):
    """Ends the command with this exit code, and these lines on stderr."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines = lines


def say(words: str) -> None:
    """Print a line for people on stderr, with escaped control characters; nowhere if that cannot be written to."""
    try:
        sys.stderr.write(f"tidegate: {printable(words)}\n")
    except OSError:
        lead_nowhere(sys.stderr)


def agreed(question: str) -> bool:
    """Ask on the terminal; return whether the answer is yes."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def lead_nowhere(stream: TextIO) -> None:
    """Lead stdout or stderr to /dev/null: Python flushes at exit what could not be written, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
