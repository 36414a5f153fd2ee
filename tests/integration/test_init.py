"""The server as PID 1, as in a container without an init of its own."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, noted, pending, shut_gate
from tests.support.server import Child, Children
from tests.support.waiting import eventually

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
IGNORES_CHILDREN = """
import os, signal, sys

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])
"""
ORPHANS = 5
PROCESSOR = f"""
import os
import subprocess

import processors


def work(events):
    for _ in range({ORPHANS}):
        if (child := os.fork()) == 0:
            if os.fork() == 0:
                processors.note("orphans")
            os._exit(0)
        os.waitpid(child, 0)
    return [subprocess.run(["/bin/sh", "-c", "exit 3"]).returncode for _ in events]
"""
SECTIONS = source("worked", processor="children:work") + source("slow", processor="processors:plain")


@pytest.fixture
def child(children: Children) -> Child:
    """A server that is PID 1, as far as it can see."""
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace can be made here")
    child = children(SECTIONS)
    child.command = [*UNSHARE, *child.command]
    (child.directory / "children.py").write_text(PROCESSOR)
    return child


def children_of(parent: int) -> list[tuple[int, str]]:
    """The PIDs of its children, with their states."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, owner = path.read_text().rsplit(")", 1)[1].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(owner) == parent:
            found.append((int(path.parent.name), state))
    return found


def init_of(child: Child) -> int:
    [(pid, _)] = children_of(child.pid)
    return pid


def test_pid_1_reaps_orphans_only(child: Child) -> None:
    """What a processor leaves behind becomes no zombie, and its own children's exit codes reach it."""
    child.start()
    child.post("worked", item("a"))
    eventually(lambda: pending(child, "worked") == 0)
    assert child.admin("/events/worked/a").json["result"] == 3
    eventually(lambda: len(noted(child, "orphans")) == ORPHANS)
    eventually(lambda: len(children_of(init_of(child))) == 1)


def test_pid_1_forwards_signals(child: Child) -> None:
    """SIGHUP reloads, SIGTERM drains, and the exit code is the server's."""
    child.start()
    os.kill(init_of(child), signal.SIGHUP)
    child.wait_for_line("reloaded")
    os.kill(init_of(child), signal.SIGTERM)
    assert child.wait() == 0
    assert child.lines_of("stopped")


def test_pid_1_ends_with_the_server(child: Child) -> None:
    """A server that was killed is no server that hangs: the exit code says which signal it was."""
    child.start()
    [(server, _)] = children_of(init_of(child))
    os.kill(server, signal.SIGKILL)
    assert child.wait() == 128 + signal.SIGKILL


def test_an_ignored_sigchld_is_heard_again(child: Child) -> None:
    """Started by who ignores the ends of children: a processor has its child's exit code, the init the server's."""
    server = (sys.executable, "-P", "-m", "server")  # a shell would not hand on that it is ignored
    child.command = [*UNSHARE, sys.executable, "-c", IGNORES_CHILDREN, *server]
    child.start()
    child.post("worked", item("a"))
    eventually(lambda: pending(child, "worked") == 0)
    assert child.admin("/events/worked/a").json["result"] == 3
    os.kill(init_of(child), signal.SIGTERM)
    assert child.wait() == 0


def has_heard_all(pid: int) -> bool:
    """No signal waits for it."""
    return not int(Path(f"/proc/{pid}/status").read_text().split("ShdPnd:")[1].split()[0], 16)


def test_an_interrupt_at_the_terminal_counts_once(child: Child) -> None:
    """Ctrl-C reaches both the init and the server; forwarded, it would be a second signal, which ends a drain."""
    controller, terminal = pty.openpty()
    child.command = ["/bin/sh", "-c", 'exec < "$0" setsid --ctty "$@"', os.ttyname(terminal), *child.command]
    try:
        child.start()
        with shut_gate(child):
            child.post("slow", item("a", do="hang"))
            eventually(lambda: calls(child))
            init = init_of(child)
            os.kill(init, signal.SIGSTOP)  # two signals at once could be heard as one
            os.write(controller, b"\x03")
            child.wait_for_line("draining")
            os.kill(init, signal.SIGCONT)
            eventually(lambda: has_heard_all(init))
        assert child.wait() == 0
    finally:
        os.close(controller)
        os.close(terminal)
    assert child.lines_of("stopped")
