"""The terminal of a server is closed: it drains, unless it never had one, or was told by `nohup` to outlive it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.config import source
from tests.support.server import ROOT, Child, Children, installed_command
from tests.support.waiting import HANG_SECONDS, eventually

IN_A_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A pseudo-terminal with a command in it, whose stderr goes to a file."""

    def __init__(self, child: Child, command: Sequence[str]) -> None:
        self._log = child.directory / "log"
        self._master, slave = pty.openpty()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", IN_A_TERMINAL, *command],
                stdin=slave,
                stdout=slave,
                stderr=log,
                env=child.environment,
                cwd=child.directory,
            )
        os.close(slave)

    def events(self) -> list[str]:
        """What the log of the server says."""
        lines = [line for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [json.loads(line)["event"] for line in lines]

    def wait_for(self, event: str) -> None:
        eventually(lambda: event in self.events() or self.process.poll() is not None)
        assert event in self.events(), self._log.read_text()

    def close(self) -> None:
        if self._master >= 0:
            os.close(self._master)
            self._master = -1


@contextmanager
def terminal(child: Child, command: Sequence[str]) -> Iterator[Terminal]:
    made = Terminal(child, command)
    try:
        made.wait_for("ready")
        yield made
    finally:
        made.close()
        with suppress(ProcessLookupError):
            os.killpg(made.process.pid, signal.SIGKILL)
        made.process.wait(HANG_SECONDS)


@pytest.fixture
def child(children: Children) -> Child:
    return children(source("archive"))


def serve(child: Child) -> list[str]:
    return [*child.command, "serve", "--config", str(child.config)]


def test_a_closed_terminal_drains_its_server(child: Child) -> None:
    """A SIGHUP reloads while the terminal is there; that of its end drains, as SIGTERM does."""
    with terminal(child, serve(child)) as there:
        there.process.send_signal(signal.SIGHUP)
        there.wait_for("reloaded")
        there.close()
        assert there.process.wait(HANG_SECONDS) == 0
        assert there.events()[-3:] == ["the terminal has gone", "draining", "stopped"]
        assert there.events().count("reloaded") == 1


def test_nohup_outlives_its_terminal(child: Child) -> None:
    """Where SIGHUP was ignored at the start, the server goes on; a SIGHUP reloads, SIGTERM drains."""
    with terminal(child, ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *serve(child)]) as there:
        there.close()
        there.wait_for("reloaded")
        there.process.send_signal(signal.SIGTERM)
        assert there.process.wait(HANG_SECONDS) == 0
        assert "the terminal has gone" not in there.events()


def test_make_run_ends_with_its_terminal(child: Child) -> None:
    """Make alone gets the SIGHUP, and waits for the server, which sees that the terminal has gone, and drains."""
    stamp = child.directory / ".runs"
    stamp.touch()
    rules = re.sub(r"(?m)^\$\(RUNS\):.*", "$(RUNS):", (ROOT / "Makefile").read_text())  # installed, whatever for
    (child.directory / "Makefile").write_text(rules)
    (child.directory / "config").mkdir()
    child.config.rename(child.directory / "config" / "tidegate.toml")
    binaries = Path(installed_command()[0]).parent
    if not (binaries / "tidegate").exists():
        pytest.skip("the command is not installed")
    make = ["make", f"RUNS={stamp}", f"BIN={binaries}", "run"]
    with terminal(child, make) as there:
        there.close()
        assert there.process.wait(HANG_SECONDS) != 0  # make says that it was hung up
        assert there.events()[-2:] == ["draining", "stopped"]
