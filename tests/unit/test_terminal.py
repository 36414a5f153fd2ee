"""Whose terminal has gone: neither a service's, which never had one, nor that of a process that is to outlive it."""

import os
import pty
import subprocess
import sys

import pytest

from tests.support.server import ROOT
from tests.support.waiting import HANG_SECONDS

PROCESS = """
import fcntl, os, signal, sys, termios
from server.base.terminal import Terminal

signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[1] == "nohup" else lambda *_: None)
if sys.argv[1] != "service":
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if sys.argv[1] == "background" and (child := os.fork()):
    os.waitpid(child, 0)
    os._exit(0)
os.setpgid(0, 0) if sys.argv[1] == "background" else None
terminal = Terminal()
for _ in range(2):
    print(terminal.ends_us, terminal.is_gone, terminal.is_gone_from_front, flush=True)
    os.read(int(sys.argv[2]), 1)
"""


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("foreground", [True, False, False], [True, True, True]),
        ("background", [True, False, False], [True, True, False]),
        ("nohup", [False, False, False], [False, False, False]),
        ("service", [False, False, False], [False, False, False]),
    ],
)
def test_whose_end_a_terminal_is(kind: str, before: list[bool], after: list[bool]) -> None:
    """It is missed by who had one at the start and does not ignore SIGHUP; in its foreground even without a SIGHUP."""
    master, slave = pty.openpty()
    reading, writing = os.pipe()
    launch = [sys.executable, "-c", PROCESS, kind, str(reading)]
    with subprocess.Popen(
        launch, stdin=slave, stdout=subprocess.PIPE, pass_fds=[reading], start_new_session=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        os.close(slave)
        assert process.stdout.readline().split() == [str(each).encode() for each in before]
        os.close(master)
        os.write(writing, b"12")
        assert process.stdout.readline().split() == [str(each).encode() for each in after]
        assert process.wait(HANG_SECONDS) == 0
    os.close(reading)
    os.close(writing)
