"""A process ends when it is through, whatever threads a processor's module left running."""

import socket
import subprocess
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS

LEAVES_A_THREAD = """
import atexit, pathlib, threading

threading.Thread(target=threading.Event().wait).start()
atexit.register(pathlib.Path(__file__).with_name("left").touch)

def handle(events):
    pass
"""


@pytest.fixture
def child(children: Children) -> Child:
    made = children(source("busy", processor="leaves:handle"))
    (made.directory / "leaves.py").write_text(LEAVES_A_THREAD)
    return made


def check(child: Child) -> subprocess.CompletedProcess[str]:
    """`tidegate check` as a process of its own, since what a module does to its process is the subject."""
    return subprocess.run(
        [*child.command, "check", "--config", str(child.config)],
        capture_output=True,
        text=True,
        env=child.environment,
        cwd=child.directory,
        timeout=HANG_SECONDS,
        check=False,
    )


def test_check_ends_with_its_output(child: Child) -> None:
    """`check` prints all that it has to say and ends, with its exit code, though a thread goes on."""
    done = check(child)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{child.config} is valid\n")
    assert " of disk a day\n" in done.stdout  # what follows depends on the room on this disk
    child.write(source("busy", processor="leaves:handle") + source("other", processor="nowhere:handle"))
    done = check(child)
    assert done.returncode == 2
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == [" sources.other.processor"]


def test_mistakes_are_said_without_streams(child: Child) -> None:
    """A module that takes both streams away and fails is named all the same, by `check` and by a start."""
    (child.directory / "leaves.py").write_text("import sys\nsys.stdout = sys.stderr = None\n1 / 0\n")
    done = check(child)
    assert (done.returncode, done.stderr.count("ZeroDivisionError")) == (2, 1)
    code, words = child.start_that_fails()
    assert (code, words.count("ZeroDivisionError")) == (2, 1)


def test_a_failing_start_ends(child: Child) -> None:
    """A start that fails after the modules were imported ends with its line and its exit code."""
    child.write(source("busy", processor="leaves:handle") + source("other", processor="nowhere:handle"))
    code, words = child.start_that_fails()
    assert code == 2
    assert words.count("\n") == 1
    assert "nowhere" in words
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = child.config.read_text().replace(
            'bind = "127.0.0.1:0"', f'bind = "127.0.0.1:{taken.getsockname()[1]}"', 1
        )
        child.config.write_text(text.replace('"nowhere:handle"', '"leaves:handle"'))
        code, words = child.start_that_fails()
    assert code == 1
    assert "cannot listen on" in words


@pytest.mark.parametrize("patch", ["from gevent import monkey\nmonkey.patch_all()", "import select\ndel select.epoll"])
def test_a_patched_standard_library_is_named(child: Child, patch: str) -> None:
    """`check` and a start say in one line that a module replaces what trio needs, and end with 2."""
    (child.directory / "leaves.py").write_text(f"{patch}\ndef handle(events):\n    pass\n")
    done = check(child)
    for code, words in ((done.returncode, done.stderr), child.start_that_fails()):
        assert code == 2
        [line] = [line for line in words.splitlines() if line.startswith("tidegate: ")]
        assert "leaves:handle" in line
        assert "select.epoll" in line
        assert "replaced in the standard library" in line
        assert "Traceback" not in words


def test_a_patch_at_a_reload_is_undone(children: Children) -> None:
    """A module that patches the standard library at a reload is refused each time, and the server goes on."""
    child = children(source("archive"))
    (child.directory / "patches.py").write_text("from gevent import monkey\nmonkey.patch_all()\nhandle = print\n")
    with child:
        child.write(source("archive") + source("patched", processor="patches:handle"))
        for _ in range(2):
            [line] = child.reload()
            assert "replaced in the standard library" in line["mistake"]
            assert child.post("archive", {"id": 1}).status == 200


def test_what_is_probably_not_meant(child: Child) -> None:
    """`check`, a start and a reload warn of it, with its key, and go on."""
    (child.directory / "leaves.py").write_text("import asyncio\nasync def handle(events):\n    pass\n")
    child.write(source("busy", processor="leaves:handle", signing_secrets=[" key"]))
    keys = ["sources.busy.signing_secrets", "sources.busy.processor"]
    done = check(child)
    assert (done.returncode, [line.split(": ")[:3] for line in done.stderr.splitlines()]) == (
        0,
        [["tidegate", "warning", key] for key in keys],
    )
    child.start()
    child.reload()
    assert [line["setting"].split(": ")[0] for line in child.lines_of("probably not meant")] == keys * 2
    assert child.stop() == 0


def test_a_drained_server_ends(child: Child) -> None:
    """After the last commit the process ends with 0, and does not wait for the drain's deadline."""
    child.start()
    assert child.stop() == 0
    assert child.lines[-1]["event"] == "stopped"
    assert child.errors == []


def test_exit_hooks_run_after_a_drain(children: Children) -> None:
    """Where no thread is in the way, what a processor registered for the exit runs after the drain."""
    child = children(source("neat", processor="neat:handle"))
    thread = "threading.Thread(target=threading.Event().wait).start()\n"
    (child.directory / "neat.py").write_text(LEAVES_A_THREAD.replace(thread, ""))
    child.start()
    assert child.stop() == 0
    assert Path(child.directory / "left").exists()


SIGNALS_AT_THE_VERY_END = """
import os, pathlib, signal, sys

NUMBERS = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
LEFT = str(pathlib.Path(__file__).with_name("left"))

class Last:
    def __del__(self, make=os.mkdir, left=LEFT, kill=os.kill, own=os.getpid(), numbers=NUMBERS):
        for number in numbers:
            kill(own, number)
        make(left)

sys.last_of_all = Last()  # which the interpreter lets go at its end, after all else

def handle(events):
    pass
"""


def test_signals_at_the_very_end_change_nothing(children: Children) -> None:
    """A signal that comes when the interpreter has given up its handlers does not turn a drain into a death of it."""
    child = children(source("neat", processor="neat:handle"))
    (child.directory / "neat.py").write_text(SIGNALS_AT_THE_VERY_END)
    child.start()
    assert child.stop() == 0
    assert Path(child.directory / "left").exists()


RAISES_IN_THE_SERVER = """
import builtins

def leave(*_):
    raise SystemExit

def handle(events):
    builtins.repr = builtins.print = builtins.len = leave
"""


def test_an_exit_in_the_server_is_failure(children: Children) -> None:
    """A SystemExit that what a processor has replaced raises in the server ends it with 1, so that a supervisor starts
    it again."""
    child = children(source("busy", processor="replaces:handle"))
    (child.directory / "replaces.py").write_text(RAISES_IN_THE_SERVER)
    child.start()
    child.post("busy", item("a"))
    with suppress(OSError, HTTPException):
        while not child.has_ended:
            child.post("busy", item("b"))
    assert child.wait() == 1
