"""A limit of threads that is met: at the start, at a first call, at a reload, and at a drain."""

import signal
import subprocess

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, shut_gate
from tests.support.limited import LIMITED, limited
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

SECTIONS = (
    source("turn", processor="limited:turn")
    + source("plain", processor="limited:plain")
    + source("async", processor="limited:asynchronous")
)


def turn(child: Child, *, limited: bool) -> None:
    """Let the process have no more threads, or all that it wants."""
    child.post("turn", item(f"turn-{limited}", limited=limited))
    eventually(lambda: pending(child, "turn") == 0)


def warnings(child: Child) -> list[str]:
    return sorted(each["message"].split(":")[0] for each in child.admin("/readyz").json["warnings"])


LIMITED_FROM_THE_START = """
import os, resource, sys

resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_first_calls_wait_for_a_thread(children: Children) -> None:
    """Where no thread can be had a source waits, uncounted, and readiness says so; it goes on when there is one.

    The first call of a processor had ended the process. All else works meanwhile: look-ups, metrics, a reload.
    """
    child = limited(children, SECTIONS)
    child.start()
    turn(child, limited=True)
    for name in ("plain", "async"):
        assert child.post(name, item("a")).status == 200
    eventually(lambda: warnings(child) == ["source async", "source plain"])
    assert child.admin("/readyz").json["warnings"][0]["warning"] == "threads"
    assert child.admin("/receipts/plain/a").json["pending"] is True
    child.write(SECTIONS + source("late", processor="limited:plain"))
    assert [line["event"] for line in child.reload()] == ["reloaded"]
    assert child.post("late", item("a")).status == 200
    check_identity(child)
    turn(child, limited=False)
    eventually(lambda: sum(pending(child, name) for name in ("plain", "async", "late")) == 0)
    assert [child.admin(f"/receipts/{name}/a").json["attempts"] for name in ("plain", "async", "late")] == [0, 0, 0]
    assert child.admin("/events/async/a").json["result"] == {"n": 1}
    assert calls(child) == [["a"], ["a"]]
    assert warnings(child) == []
    assert child.stop() == 0


def test_a_drain_waits_for_no_thread(children: Children) -> None:
    """A source that waits for a thread stops at once, and its events stay pending."""
    child = limited(children, SECTIONS)
    child.start()
    turn(child, limited=True)
    child.post("plain", item("a"))
    eventually(lambda: warnings(child) == ["source plain"])
    assert child.stop() == 0
    assert child.wait_for_line("stopped")["pending"] == 1
    child.start()
    eventually(lambda: pending(child, "plain") == 0)


def test_the_drain_deadline_needs_no_thread(children: Children) -> None:
    """A drain that begins at the limit ends at its deadline too; its timer had been a thread of that moment."""
    limits = "[limits]\ndrain_timeout_seconds = 0.1\n"
    child = limited(children, limits + SECTIONS + source("worked", processor="processors:plain"))
    child.start()
    with shut_gate(child):
        child.post("worked", item("a", do="hang"))
        eventually(lambda: calls(child))
        turn(child, limited=True)
        child.signal(signal.SIGTERM)
        assert child.wait() == 0
    assert [line.split(";")[0] for line in child.errors] == ["the drain deadline of 0.1 s is over"]


def test_a_start_without_threads_fails(children: Children) -> None:
    """One line says what is missing, and the exit code is 1."""
    child = limited(children, SECTIONS)
    (child.directory / "limited.py").write_text(LIMITED + "\n\nlimit(1)\n")
    code, words = child.start_that_fails()
    assert (code, len(words.splitlines()), "no thread can be had for" in words) == (1, 2, True), words


def limited_from_the_start(children: Children) -> Child:
    child = limited(children, SECTIONS)
    child.command = [*child.command[:-2], "-c", LIMITED_FROM_THE_START, *child.command[-2:]]
    return child


def test_libraries_take_no_thread_at_the_start(children: Children) -> None:
    """A limit from the start on is told apart from a Ctrl-C, which the linear algebra of numpy would send."""
    code, words = limited_from_the_start(children).start_that_fails()
    assert (code, len(words.splitlines()), "no thread can be had for" in words) == (1, 1, True), words


def test_commands_need_no_thread(children: Children) -> None:
    """At the same limit `check` and a reading command do what they do elsewhere."""
    child = limited_from_the_start(children)
    for command, code, words in (("check", 0, ""), ("verify", 1, "there is no store")):
        done = subprocess.run(
            [*child.command, command, "--config", str(child.config)],
            capture_output=True,
            text=True,
            env=child.environment,
            cwd=child.directory,
            timeout=HANG_SECONDS,
            check=False,
        )
        assert (done.returncode, words in done.stderr, len(done.stderr.splitlines()) <= 1) == (code, True, True), done
