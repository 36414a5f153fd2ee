"""A program on a pseudo-terminal: what it draws, what is typed to it, how large its terminal is."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import HANG_SECONDS, eventually

WITH_IT = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Runs the command with the terminal as its own, so that Ctrl-C reaches it."""

FRAME = re.compile(rb"\x1b\[H(.*?)\x1b\[J", re.DOTALL)
STYLE = re.compile(r"\x1b\[[0-9;]*[mK]")


class OnTerminal:
    """Starts the command; ends it with `close`."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        *,
        columns: int = 120,
        rows: int = 30,
    ) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, rows)
        self.mode_before = termios.tcgetattr(self._theirs)
        self.drawn = b""
        """All that it has written so far."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", WITH_IT, *command],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
        )
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def frame(self) -> list[str]:
        """The lines of what was drawn last, without styles; none before the first."""
        found = FRAME.findall(self.drawn)
        return STYLE.sub("", found[-1].decode()).replace("\r", "").split("\n") if found else []

    @property
    def mode(self) -> list[object]:
        """The modes of the terminal as they are now."""
        return termios.tcgetattr(self._theirs)

    def wait_for_frame(self, is_it: Callable[[str], object]) -> str:
        """What it shows, once that is so."""
        eventually(lambda: is_it("\n".join(self.frame)) or self.process.poll() is not None)
        shown = "\n".join(self.frame)
        assert is_it(shown), self.drawn
        return shown

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait(self) -> int:
        """The exit code, once it has ended and all that it wrote is read."""
        code = self.process.wait(HANG_SECONDS)
        self._stop_reading()
        return code

    def hang_up(self) -> int:
        """Close the terminal, as a lost connection does; the exit code."""
        self._stop_reading()
        os.close(self._theirs)
        os.close(self._ours)
        self._ours = -1
        return self.process.wait(HANG_SECONDS)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(HANG_SECONDS)
        self._stop_reading()
        if self._ours >= 0:
            os.close(self._theirs)
            os.close(self._ours)

    def _stop_reading(self) -> None:
        self._ended.set()
        self._reader.join(HANG_SECONDS)

    def _read(self) -> None:
        while True:
            if select.select([self._ours], [], [], 0.05)[0]:
                self.drawn += os.read(self._ours, 65536)
            elif self._ended.is_set():
                return
