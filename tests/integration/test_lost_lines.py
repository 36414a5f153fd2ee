"""A server whose log finds no reader goes on as if it had one, whatever a processor prints or closes."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import pending
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

LOUD = """
import logging, os, signal, sys, traceback, warnings

signal.signal(signal.SIGPIPE, signal.SIG_DFL)

def prints(events):
    for stream in (sys.stdout, sys.stderr):
        print("a line", file=stream)
        print("half \\ud83d", "x" * 5_000_000, file=stream)
        for _ in range(3000):
            print("one of many", file=stream)
        print("unfinished", end="", file=stream, flush=True)
        stream.buffer.write(b"\\xff\\n")
    logging.getLogger("loud").warning("a warning")
    warnings.warn("another")
    try:
        1 / 0
    except ZeroDivisionError:
        traceback.print_exc()

async def on_the_loop(events):
    prints(events)

def closes(events):
    print("before")
    sys.stdout.close()
    sys.stderr.close()
    sys.__stderr__.close()
    os.close(1)
    os.close(2)
    print("after", flush=True)
    print("after", file=sys.stderr, flush=True)

def replaces(events):
    sys.stdout = sys.stderr = None

def fills(events):
    sys.stdout = sys.stderr = open("/dev/full", "w")
    print("what is still to be written at the exit")

def forks(events):
    print("unfinished", end="")
    child = os.fork()
    if child == 0:
        print(" of the child")
        print("the child says", file=sys.stderr, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(" of the parent", flush=True)
"""


def loud(children: Children, name: str) -> Child:
    child = children(source("worked", processor=f"loud:{name}"))
    (child.directory / "loud.py").write_text(LOUD)
    return child


@contextmanager
def served(child: Child, stdout: int, stderr: int, *shell: str) -> Iterator[subprocess.Popen[bytes]]:
    """The server with these outputs, on ports of the test's choice, since it may have no way to say which."""
    with socket.socket() as public, socket.socket() as admin:
        for sock in (public, admin):
            sock.bind(("127.0.0.1", 0))
        child.port, child.admin_port = (sock.getsockname()[1] for sock in (public, admin))
    child.config.write_text(child._config_of_commands().read_text())
    serve = [*shell, *child.command, "serve", "--config", str(child.config)]
    with subprocess.Popen(
        serve, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=child.environment, cwd=child.directory
    ) as process:
        try:
            eventually(lambda: process.poll() is not None or is_ready(child))
            yield process
        finally:
            process.kill()


def is_ready(child: Child) -> bool:
    try:
        return child.admin("/readyz").status == 200
    except OSError:
        return False


def dropped(child: Child) -> float:
    return child.metrics()["tidegate_log_lines_dropped_total"]


def work_through(child: Child, process: subprocess.Popen[bytes]) -> float:
    """Refusals of every front end, an event that is processed, and a clean end; return how many lines were lost."""
    assert child.post("worked", b"{").status == 400
    assert child.post("worked", item("a"), token="guessed").status == 401
    assert child.request("GET", "/nothing").status == 404
    assert child.post("worked", item("a")).status == 200
    eventually(lambda: pending(child, "worked") == 0)
    lost = dropped(child)
    process.send_signal(signal.SIGTERM)
    assert process.wait(HANG_SECONDS) == 0
    return lost


@pytest.mark.parametrize("name", ["prints", "on_the_loop"])
@pytest.mark.parametrize("reader", ["gone", "full"])
def test_no_reader_ends_no_server(children: Children, name: str, reader: str) -> None:
    """A reader that went away and a full disk lose lines, which are counted; deliveries, drain and exit code stay."""
    child = loud(children, name)
    reading, writing = os.pipe()
    os.close(reading)
    if reader == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), writing)
    with served(child, writing, writing) as process:
        assert work_through(child, process) > 6000
    os.close(writing)


def test_a_stuck_reader_stops_no_loop(children: Children) -> None:
    """Two pipes that nobody reads keep neither the loop nor a processor waiting, nor the exit for long."""
    child = loud(children, "on_the_loop")
    reading, writing = os.pipe()
    with served(child, writing, writing) as process:
        assert work_through(child, process) > 0
    os.close(reading)
    os.close(writing)


def test_closed_outputs_are_no_others(children: Children) -> None:
    """What is closed at the start leads nowhere, and not into the store or a connection that got its number."""
    child = loud(children, "prints")
    shell = ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh"]
    with served(child, subprocess.DEVNULL, subprocess.DEVNULL, *shell) as process:
        for file in range(3):
            assert Path(f"/proc/{process.pid}/fd/{file}").readlink() == Path("/dev/null")
        work_through(child, process)
    assert child.cli("verify").returncode == 0


def test_what_a_processor_closes_stays_open(children: Children) -> None:
    """It closes both streams and both descriptors, and prints: the log goes on, and the end is clean."""
    child = loud(children, "closes")
    with served(child, subprocess.PIPE, subprocess.PIPE) as process:
        child.post("worked", item("a"))
        eventually(lambda: pending(child, "worked") == 0)
        assert dropped(child) == 0
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert said == b"before\nafter\n"
    assert b"after\n" in errors
    assert b'"stopped"' in errors.splitlines()[-1]
    assert b"Traceback" not in errors


@pytest.mark.parametrize("name", ["replaces", "fills"])
def test_replaced_streams_change_no_exit(children: Children, name: str) -> None:
    """Whatever a processor leaves in place of the streams, a drain exits 0 and its last line is said."""
    child = loud(children, name)
    with served(child, subprocess.DEVNULL, subprocess.PIPE) as process:
        child.post("worked", item("a"))
        eventually(lambda: pending(child, "worked") == 0)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert b'"stopped"' in errors.splitlines()[-1]


def test_a_forked_child_prints_too(children: Children) -> None:
    """What a processor's child prints is written by the child, and what waits in the parent not twice."""
    child = loud(children, "forks")
    with served(child, subprocess.PIPE, subprocess.PIPE) as process:
        child.post("worked", item("a"))
        eventually(lambda: pending(child, "worked") == 0)
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0
    assert said == b"unfinished of the child\nunfinished of the parent\n"
    assert b"the child says\n" in errors


@pytest.mark.parametrize(("command", "code"), [("serve", 2), ("check", 2)])
def test_mistakes_keep_their_code_unheard(children: Children, command: str, code: int) -> None:
    """A mistake that cannot be said, on a full disk or with stderr closed, has the exit code of one that can."""
    child = children("[sources.worked]\n")
    for stderr in ("/dev/full", "&-"):
        shell = ["sh", "-c", f'exec "$@" 2>{stderr}', "sh", *child.command, command, "--config", str(child.config)]
        done = subprocess.run(shell, env=child.environment, cwd=child.directory, check=False, timeout=HANG_SECONDS)
        assert done.returncode == code
