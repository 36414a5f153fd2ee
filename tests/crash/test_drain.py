"""The end of a server: SIGTERM under load, with processors that hang, with requests in hand; and the start after it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from contextlib import ExitStack
from random import Random

import pytest

from tests.support.client import item
from tests.support.config import TOKEN, source
from tests.support.ledger import calls, check_identity, pending, read_books, shut_gate, statuses, totals
from tests.support.load import SECTIONS, SOURCES, Load, check_books, check_calls
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

SHORT_DEADLINE = "[limits]\ndrain_timeout_seconds = 1\n"


def test_a_drain_under_load_loses_nothing(children: Children) -> None:
    """Exit 0; what was acknowledged is on disk, what a processor was given has its outcome, the rest goes on later."""
    child = children(SECTIONS)
    child.start()
    load = Load(child, 0, Random(0).randint(10, 60), lambda: child.signal(signal.SIGTERM), [])
    load.run()
    assert child.wait() == 0
    assert child.lines_of("stopped")
    assert all(b'"draining"' in body for body in load.refused)
    books = read_books(child, unanswered=load.unanswered)
    check_books(books, load.acknowledged)
    processed = {event_id for name, event_id in books.processed() if name == "worked"}
    assert {event_id for ids in calls(child) for event_id in ids} == processed
    called = len(calls(child))
    child.start()
    eventually(lambda: all(pending(child, name) == 0 for name in SOURCES))
    check_identity(child)
    after = read_books(child, known=books.unread())
    check_books(after, load.acknowledged)
    check_calls(child, called, set(books.processed()), after)


def test_a_call_in_hand_is_finished(children: Children) -> None:
    """A call in hand at SIGTERM is finished, and counts; what comes behind it is left for the next start."""
    child = children(source("worked", processor="processors:plain", processor_batch_events_max=1))
    child.start()
    with shut_gate(child):
        child.post("worked", [item("a", do="hang"), item("b")])
        eventually(lambda: calls(child))
        child.signal(signal.SIGTERM)
        eventually(lambda: child.lines_of("draining") or child.has_ended)
    assert child.wait() == 0
    assert calls(child) == [["a"]]
    assert [event.status for event in read_books(child).events] == ["processed", "pending"]
    child.start()
    eventually(lambda: pending(child, "worked") == 0)
    assert calls(child) == [["a"], ["b"]]


@pytest.mark.parametrize("function", ["plain", "asynchronous"])
def test_a_hanging_processor_delays_to_the_deadline(children: Children, function: str) -> None:
    """A processor that hangs, even on the loop, delays the exit to the deadline and no longer; its event is kept."""
    child = children(SHORT_DEADLINE + source("worked", processor=f"processors:{function}"))
    child.start()
    body = json.dumps(item("a", do="hang")).encode()
    with shut_gate(child), socket.create_connection(("127.0.0.1", child.port)) as client:
        client.sendall(_head("worked", body) + body)  # its answer may come too late: the loop hangs
        eventually(lambda: calls(child))
        assert child.stop() == 0
    assert child.errors == ["the drain deadline of 1 s is over; left in hand: processors of worked"]
    assert statuses(child, "worked", "a") == ["pending"]
    child.start()
    eventually(lambda: pending(child, "worked") == 0)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_drain(children: Children, second: signal.Signals) -> None:
    """A second signal ends the drain at once, with a last line and exit 1."""
    child = children(source("worked", processor="processors:plain"))
    child.start()
    with shut_gate(child):
        child.post("worked", item("a", do="hang"))
        eventually(lambda: calls(child))
        child.signal(signal.SIGTERM)
        child.wait_for_line("draining")
        eventually(lambda: _signalled_until_ended(child, second))
        assert child.wait() == 1
    [line] = child.errors
    assert line.startswith("a second signal ends the drain; left in hand: processors of worked")


def _signalled_until_ended(child: Child, number: signal.Signals) -> bool:
    """Signal a server that has not ended; return whether it has. What comes at once after the first signal is that."""
    child.signal(number)
    return child.has_ended


@pytest.mark.parametrize(("signals", "status"), [(1, 0), (2, 1)])
def test_a_full_stderr_stops_no_end(children: Children, signals: int, status: int) -> None:
    """Where nobody reads the log any more, the deadline and a second signal end the server all the same."""
    child = children(SHORT_DEADLINE + source("archive"))
    reading, writing = os.pipe()
    serve = [*child.command, "serve", "--config", str(child.config)]
    with (
        os.fdopen(reading, "rb", buffering=0) as log,
        os.fdopen(writing, "wb", buffering=0) as theirs,
        subprocess.Popen(serve, stderr=theirs, env=child.environment, cwd=child.directory) as process,
    ):
        said = b""
        while b'"ready"' not in said:
            said += log.read(65536)
        fill_up(theirs.fileno())
        for each in (signal.SIGTERM, signal.SIGINT)[:signals]:
            process.send_signal(each)
        assert process.wait(HANG_SECONDS) == status


def fill_up(pipe: int) -> None:
    """Write until nothing fits any more."""
    os.set_blocking(pipe, False)
    for size in (65536, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b"x" * size)
    os.set_blocking(pipe, True)


def test_a_request_in_hand_is_answered(children: Children) -> None:
    """A request that was let in before SIGTERM gets its 200, the last on its connection; idle connections are closed,
    and nobody new is let in."""
    child = children(source("archive"))
    child.start()
    body = b'{"id": "late"}'
    with ExitStack() as stack:
        idle, busy = (stack.enter_context(socket.create_connection(("127.0.0.1", child.port))) for _ in range(2))
        busy.sendall(_head("archive", body, "Expect: 100-continue"))
        assert busy.recv(1000).startswith(b"HTTP/1.1 100 ")
        child.signal(signal.SIGTERM)
        assert idle.recv(1000) == b""
        busy.sendall(body)
        answer = b"".join(iter(lambda: busy.recv(1000), b""))
        with pytest.raises(ConnectionRefusedError):
            child.post("archive", item("too late"))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer.lower()
    assert child.wait() == 0
    assert totals(child)["archive"]["received"] == 1


def test_a_slow_client_delays_to_the_deadline(children: Children) -> None:
    """A client that does not finish its request delays the exit to the deadline, and is named as the reason."""
    child = children(SHORT_DEADLINE + source("archive"))
    child.start()
    with socket.create_connection(("127.0.0.1", child.port)) as client:
        client.sendall(_head("archive", b"1234", "Expect: 100-continue"))
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        assert child.stop() == 0
    assert child.errors == ["the drain deadline of 1 s is over; left in hand: requests of slow clients"]


def test_call_that_outran_its_timeout(children: Children) -> None:
    """A call that nobody waits for any more does not hold up the exit."""
    child = children(source("worked", processor="processors:plain", processor_timeout_seconds=0.1))
    child.start()
    with shut_gate(child):
        child.post("worked", item("a", do="hang"))
        eventually(lambda: child.metrics()['tidegate_processor_failures_total{source="worked"}'] == 1)
        child.signal(signal.SIGTERM)
        assert child.wait() == 0
    assert not child.errors


def test_reload_during_a_drain(children: Children) -> None:
    """A SIGHUP that brings a new source during a drain keeps nobody: that source's task was never told to stop."""
    worked = source("worked", processor="processors:plain")
    child = children(worked)
    child.start()
    with shut_gate(child):
        child.post("worked", item("a", do="hang"))
        eventually(lambda: calls(child))
        child.signal(signal.SIGTERM)
        child.wait_for_line("draining")
        child.write(worked + source("new"))
        child.reload()
    assert child.wait() == 0
    assert not child.errors


def test_store_that_cannot_be_written(children: Children) -> None:
    """Outcomes that cannot be written delay the exit to the deadline, and are named; their events go on later."""
    child = children(SHORT_DEADLINE + source("worked", processor="processors:plain"), launch=("--faults", "faults"))
    child.start()
    faults = child.directory / "faults"
    with shut_gate(child):
        child.post("worked", item("a", do="hang"))
        eventually(lambda: calls(child))
        faults.write_text("no space")
    eventually(lambda: child.metrics()['tidegate_processor_seconds_count{source="worked"}'] == 1)
    assert child.stop() == 0
    assert len(child.errors) == 1
    assert "left in hand: outcomes that cannot be written: " in child.errors[0]
    faults.unlink()
    child.start()
    eventually(lambda: pending(child, "worked") == 0)
    check_identity(child)


def _head(name: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST /ingest/inbound/{name} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
