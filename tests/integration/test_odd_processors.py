"""Processors that change what belongs to the whole process, when they are imported and when they are called."""

import signal
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import check_identity, pending
from tests.support.server import Child, Children
from tests.support.waiting import eventually

ODD = """
import gc
import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings

import processors

HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def meddle():
    os.chdir("/")
    os.umask(0)
    os.environ.clear()
    gc.disable()
    random.seed(1)
    logging.disable(logging.CRITICAL)
    socket.setdefaulttimeout(0.0001)
    sys.setrecursionlimit(200)
    threading.excepthook = sys.unraisablehook = lambda *_: None
    warnings.simplefilter("error")


meddle()
for number in HEARD:
    signal.signal(number, signal.SIG_IGN)
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
signal.set_wakeup_fd(-1)
signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)


def plain(events):
    meddle()
    return processors.plain(events)
"""


CLOSING = """
import os
import socket


def close_pairs(events):
    nth = events[0]["payload"]["nth"]
    for number in range(3, 64):
        try:
            with socket.socket(fileno=os.dup(number)) as sock:
                is_pair = sock.family == socket.AF_UNIX
        except OSError:
            continue
        if is_pair and nth == 0:
            os.close(number)
        nth -= is_pair
"""


@pytest.mark.parametrize("nth", range(4))
def test_a_loop_that_nothing_wakes_ends(children: Children, nth: int) -> None:
    """Whichever end of the loop's own socket pairs a processor closes, the server ends, and does not go round for
    ever."""
    child = children(source("closing", processor="closing:close_pairs"))
    (child.directory / "closing.py").write_text(CLOSING)
    child.start()
    with suppress(OSError, HTTPException):  # it may go round before it has answered
        child.post("closing", item("a", payload={"nth": nth}))
    assert child.wait() == 1
    child.write(source("closing"))
    child.start()
    eventually(lambda: pending(child, "closing") == 0)


def test_a_meddling_processor_changes_nothing(children: Children) -> None:
    """The server hears signals, reloads, and keeps its files to itself, whatever a module did to the process."""
    child = children(source("archive") + source("odd", processor="odd:plain"))
    (child.directory / "odd.py").write_text(ODD)
    child.start()
    child.post("odd", item("a"))
    eventually(lambda: pending(child, "odd") == 0)
    assert [line["event"] for line in child.reload()] == ["reloaded"]
    assert child.post("archive", item("a")).status == 200
    check_identity(child)
    assert child.store.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in child.store.iterdir()} == {0o600}
    ignored, blocked = signals(child, "SigIgn"), signals(child, "SigBlk")
    assert {signal.SIGPIPE, signal.SIGXFSZ} <= ignored
    assert not {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} & (ignored | blocked)
    assert child.stop() == 0
    assert child.lines_of("stopped")
    assert child.errors == []


def signals(child: Child, which: str) -> set[int]:
    """The numbers in a set of signals that the system keeps for the main thread."""
    mask = int(Path(f"/proc/{child.pid}/status").read_text().split(f"{which}:")[1].split()[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
