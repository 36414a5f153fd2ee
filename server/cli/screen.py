"""The whole terminal, taken for a while, and given back as it was, whatever ends it but SIGKILL."""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from server.cli.exit_codes import MISTAKE
from server.cli.failure import CommandFailed
from storage.frozen import frozen

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

HEARD = (*ENDING, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
"""The signals that `wait` returns, instead of what they would do else."""

ENTER = b"\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The other screen, no cursor, and what is too wide does not go on in the next line."""

CLEAR_LINE, CLEAR_REST = "\x1b[K", "\x1b[J"

LEAVE = b"\x1b[?7h\x1b[?25h\x1b[?1049l"

TOLD = 0
"""Where a number of a signal would be: somebody called `tell`."""

COLUMNS, ROWS = 80, 24
"""Of a terminal that does not say."""


@frozen
class Happened:
    """What has come while somebody waited."""

    keys: bytes
    numbers: bytes
    """Of signals, and TOLD."""

    @property
    def ending(self) -> signal.Signals | None:
        """The first of the signals that end a program, if there is one."""
        return next((number for number in ENDING if number in self.numbers), None)


class Screen:
    """The terminal while it is taken."""

    def __init__(self, reading: int, writing: int) -> None:
        """The ends of the pipe through which signals and `tell` come."""
        self._reading = reading
        self._writing = writing
        self._keys, self._shown = sys.stdin.fileno(), sys.stdout.fileno()
        self._before = termios.tcgetattr(self._keys)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, as they are now."""
        try:
            found = os.get_terminal_size(self._shown)
        except OSError:
            return COLUMNS, ROWS
        return found.columns or COLUMNS, found.lines or ROWS

    def take(self) -> None:
        """Also after somebody else changed it, while this process was stopped. What was typed already is kept."""
        with suppress(termios.error):
            tty.setcbreak(self._keys, termios.TCSANOW)
        self._write(ENTER)

    def give_back(self) -> None:
        """Put all back."""
        self._write(LEAVE)
        with suppress(termios.error):
            termios.tcsetattr(self._keys, termios.TCSANOW, self._before)

    def stop(self) -> None:
        """Give it back, stop as Ctrl-Z would have it, and take it again when the process goes on."""
        self.give_back()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self.take()

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines and nothing else."""
        text = "\r\n".join(f"{line}{CLEAR_LINE}" for line in lines)
        self._write(f"\x1b[H{text}{CLEAR_REST}".encode())

    def wait(self) -> Happened:
        """Wait for keys, signals or `tell`. A terminal that is gone is as SIGHUP."""
        ready, _, _ = select.select([self._keys, self._reading], [], [])
        keys, numbers = b"", b""
        if self._reading in ready:
            numbers = os.read(self._reading, 4096)
        if self._keys in ready:
            with suppress(OSError):
                keys = os.read(self._keys, 4096)
            numbers += b"" if keys else bytes([signal.SIGHUP])
        return Happened(keys, numbers)

    def tell(self) -> None:
        """Wake `wait`, from any thread."""
        with suppress(BlockingIOError):  # it has enough to wake for
            os.write(self._writing, bytes([TOLD]))

    def _write(self, data: bytes) -> None:
        """What a terminal that is gone does not take is lost: `wait` says that it is gone."""
        with suppress(OSError):
            while data:
                data = data[os.write(self._shown, data) :]


@contextmanager
def screen(instead: str) -> Iterator[Screen]:
    """Take the terminal until the end of the block. Raises CommandFailed if there is none: it says what to do
    `instead`."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise CommandFailed(MISTAKE, f"this needs a terminal on stdin and stdout; {instead}")
    with ExitStack() as stack:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for end in (reading, writing):
            stack.callback(os.close, end)
        made = Screen(reading, writing)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writing, warn_on_full_buffer=False))
        for number in HEARD:
            stack.callback(signal.signal, number, signal.signal(number, _heard))
        stack.callback(made.give_back)
        made.take()
        yield made


def _heard(*_: Any) -> None:
    """Nothing is left to do: the number of the signal is in the pipe."""
