"""Processes that a processor forked: they may outlive the server, and must not stand in the way of the next one."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from server.flow.suspects import find_suspects
from storage.in_hand.in_hand import Whose, recall
from storage.store_time import read_boot_id
from tests.support.client import item
from tests.support.config import TOKEN, source
from tests.support.ledger import noted, pending
from tests.support.server import Child, Children
from tests.support.store import opened
from tests.support.waiting import eventually

FORKS = """
import multiprocessing
import os
import resource
import signal
import sys

import processors


def starved(events):
    # while not one descriptor is to be had
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        is_child = os.fork() == 0
    for file in taken:
        os.close(file)
    if is_child:
        stay()


def by_hand(events):
    if os.fork() == 0:
        stay()


def pool(events):
    multiprocessing.get_context("fork").Process(target=stay).start()


def spawned(events):
    multiprocessing.get_context("spawn").Process(target=stay).start()


def served(events):
    multiprocessing.get_context("forkserver").Process(target=stay).start()


def forgetful(events):
    pid = os.fork()
    processors.note("came-back", pid=pid or os.getpid(), is_child=not pid)


async def forgetful_async(events):
    forgetful(events)


def leaving(events):
    pid = os.fork()
    if not pid:
        sys.exit(3)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for _ in events]


async def leaving_async(events):
    return leaving(events)


def stay():
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    defaults = [signal.getsignal(number) is signal.SIG_DFL for number in (signal.SIGTERM, signal.SIGHUP)]
    interrupts = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signals = [*defaults, interrupts, signal.set_wakeup_fd(-1) == -1]
    processors.note("forked", pid=os.getpid(), signals=signals, limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    while True:
        signal.pause()
"""
FUNCTIONS = ("by_hand", "pool")

NO_PROC = ("unshare", "--mount", "/bin/sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
"""Runs a command where nothing lists the descriptors of a process."""

DEADLINE = "[limits]\ndrain_timeout_seconds = 1\n"
"""A process that was made by `multiprocessing` is waited for until then."""


@contextmanager
def forked(children: Children, function: str, launch: Sequence[str] = ()) -> Iterator[tuple[Child, dict[str, Any]]]:
    """A server with a forked process, and what that noted of itself; it is ended with the block."""
    child = children(DEADLINE + source("archive") + source("worked", processor=f"forks:{function}"))
    child.command = [*launch, *child.command]
    (child.directory / "forks.py").write_text(FORKS)
    child.start()
    child.post("worked", item("a"))
    eventually(lambda: noted(child, "forked"))
    (line,) = noted(child, "forked")
    try:
        yield child, line
    finally:
        child.kill()
        for each in noted(child, "forked"):  # a server that was killed before the outcome was on disk forks anew
            if is_running(each["pid"]):
                os.kill(each["pid"], signal.SIGKILL)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("function", "launch"), [("by_hand", ()), ("pool", ()), ("starved", ()), ("by_hand", NO_PROC)])
def test_a_forked_process_blocks_no_new_server(children: Children, function: str, launch: Sequence[str]) -> None:
    """It holds neither the store's lock nor a socket: clients hear of the end, and the next server starts.

    One that was forked while there was no descriptor had kept them all, or while nothing listed them.
    """
    if launch and subprocess.run([*launch, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    with forked(children, function, launch) as (child, line), child.session() as session:
        assert session.post("archive", item("a")).status == 200
        child.kill()
        assert is_running(line["pid"])
        with pytest.raises(ConnectionError):
            session.post("archive", item("b"), token=TOKEN)
        with pytest.raises(ConnectionRefusedError):
            child.post("archive", item("b"))
        child.start()
        assert child.post("archive", item("b")).status == 200


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_fork_takes_nothing_from_the_server(children: Children, function: str) -> None:
    """The server keeps its lock and its listeners, and goes on as if nothing had been forked."""
    with forked(children, function) as (child, _):
        code, words = child.start_that_fails()
        assert (code, "another process writes to the store" in words) == (1, True)
        assert child.post("archive", item("b")).status == 200
        assert child.admin("/livez").status == 200
        assert child.stop() == 0


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_forked_process_has_signals_of_its_own(children: Children, function: str) -> None:
    """SIGTERM ends it, and drains nothing: the server's handlers had come along."""
    with forked(children, function) as (child, line):
        assert line["signals"] == [True, True, True, True]
        os.kill(line["pid"], signal.SIGTERM)
        eventually(lambda: not is_running(line["pid"]))
        assert child.post("archive", item("b")).status == 200
        assert not child.lines_of("draining")


def test_children_may_open_as_many_files(children: Children) -> None:
    """The server raises its own limit only; its children have the one that it was started with."""
    functions = ("by_hand", "pool", "spawned", "served")
    child = children("".join(source(name, processor=f"forks:{name}") for name in functions) + DEADLINE)
    child.command = ["/bin/sh", "-c", 'ulimit -S -n 200; exec "$@"', "sh", *child.command]
    (child.directory / "forks.py").write_text(FORKS)
    child.start()
    assert Path(f"/proc/{child.pid}/limits").read_text().split("Max open files")[1].split()[0] != "200"
    for name in functions:
        child.post(name, item("a"))
    eventually(lambda: len(noted(child, "forked")) == len(functions))
    lines = noted(child, "forked")
    for line in lines:
        os.kill(line["pid"], signal.SIGKILL)
    assert [line["limit"] for line in lines] == [200] * len(functions)


def test_a_forked_process_leaves_hands_alone(tmp_path: Path) -> None:
    """What is in hand stays so in a process that was forked meanwhile, and comes back from the call there."""
    with opened(tmp_path) as (store, _):
        call = find_suspects(store).hand().holding([1])
        with call:
            child = os.fork()
            if child == 0:
                call.__exit__(None, None, None)
                os._exit(0)
            os.waitpid(child, 0)
            assert set(recall(tmp_path, Whose(read_boot_id(), store.identity))) == {1}


@pytest.mark.parametrize("kind", ["", "_async"])
def test_a_fork_is_no_second_server(children: Children, kind: str) -> None:
    """A forked process that returns from the processor, or leaves by `sys.exit`, ends there, with its own exit code.

    It had gone on as a server: on the loop it took the parent's events away, in a thread it waited for ever.
    """
    names = (f"forgetful{kind}", f"leaving{kind}")
    child = children("".join(source(name, processor=f"forks:{name}") for name in names))
    (child.directory / "forks.py").write_text(FORKS)
    child.start()
    for name in names:
        child.post(name, item("a"))
    eventually(lambda: sum(pending(child, name) for name in names) == 0)
    assert child.admin(f"/events/leaving{kind}/a").json["result"] == 3
    eventually(lambda: any(line["is_child"] for line in noted(child, "came-back")))
    eventually(lambda: not any(is_running(line["pid"]) for line in noted(child, "came-back")))
    assert child.stop() == 0
