"""A start: when it says that it is ready, what it tells a supervisor, and why it refuses."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

import server
from storage.codec.records import decode_totals, encode_totals, totals_key
from storage.lmdb_store.environment import Store
from storage.lmdb_store.making import RETENTION_KEY
from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, check_identity, noted, pending, read_books, shut_gate
from tests.support.server import ROOT, Child, Children
from tests.support.store import opened
from tests.support.waiting import HANG_SECONDS, eventually

ARCHIVE = source("archive")
SLOW = """
import processors
processors.note("slow")
processors.wait_for_gate()
plain = processors.plain
"""


def test_ready_means_that_it_listens(children: Children) -> None:
    """Whoever connects when the supervisor has heard READY=1 is answered (it came before `listen` once)."""
    child = children(ARCHIVE)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(child.directory / "notify"))
        supervisor.settimeout(HANG_SECONDS)
        child.environment["NOTIFY_SOCKET"] = "notify"
        for _ in range(3):
            child.start()
            assert supervisor.recv(1000).startswith(b"READY=1\nMAINPID=%d" % child.pid)
            assert child.post("archive", item("a")).status == 200
            assert child.stop() == 0
            assert supervisor.recv(1000) == b"STOPPING=1"


def test_ready_says_what_runs(children: Children) -> None:
    """The line has version, process, store and both addresses; a new store has nothing to warn of."""
    child = children(ARCHIVE)
    child.start()
    assert child.admin("/readyz").json == {"status": "ready", "reasons": [], "warnings": []}
    line = child.wait_for_line("ready")
    assert (line["version"], line["store"]) == (server.__version__, str(child.store))
    assert line["pid"] == child.pid
    assert {"ingest", "admin", "sources", "pending"} <= line.keys()


def test_second_server_on_a_store(children: Children) -> None:
    """A store has one writer: a second server says so and ends; the first is not disturbed."""
    child = children(ARCHIVE)
    child.start()
    code, words = child.start_that_fails()
    assert code == 1
    assert "another process writes to the store" in words
    assert "Traceback" not in words
    assert child.post("archive", item("a")).status == 200


def test_a_port_in_use_is_named(children: Children) -> None:
    """A port that is taken is named."""
    child = children(ARCHIVE)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        child.config.write_text(
            child.config.read_text().replace('\nbind = "127.0.0.1:0"', f'\nbind = "127.0.0.1:{port}"')
        )
        code, words = child.start_that_fails()
    assert code == 1
    assert f"127.0.0.1:{port}" in words
    assert "Traceback" not in words


def test_every_mistake_is_one_line(children: Children) -> None:
    """Every mistake is one line with its key; exit 2, and no store is made."""
    child = children("[limits]\nbody_bytes_max = 0\n" + source("archive", type="other") + "colour = 1\n")
    code, words = child.start_that_fails()
    assert code == 2
    lines = words.splitlines()
    for key in ("limits.body_bytes_max", "sources.archive.type", "sources.archive.colour"):
        assert sum(key in line for line in lines) == 1
    assert not child.store.exists()


def test_processor_that_cannot_be_loaded(children: Children) -> None:
    """A processor that does not import ends the start with its name and exit 2."""
    child = children(source("worked", processor="processors:missing"))
    code, words = child.start_that_fails()
    assert code == 2
    assert "processors:missing" in words
    assert "Traceback" not in words


@contextmanager
def starting(children: Children) -> Iterator[Child]:
    """A server that is importing its processor, within the block; it becomes ready after that, if it still runs."""
    child = children(source("worked", processor="slow:plain"))
    (child.directory / "slow.py").write_text(SLOW)
    thread = threading.Thread(target=child.start_if_it_can)
    with shut_gate(child):
        thread.start()
        eventually(lambda: noted(child, "slow"))
        yield child
    thread.join()


def test_sighup_before_it_is_ready(children: Children) -> None:
    """A reload that is asked for too early does not end the process, as SIGHUP does by itself."""
    with starting(children) as child:
        child.signal(signal.SIGHUP)
    assert child.post("worked", item("a")).status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_is_not_wanted_any_more(children: Children, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end a start at once, with exit code 0 and without a word."""
    with starting(children) as child:
        child.signal(number)
        assert child.wait() == 0
    assert (child.lines, child.errors) == ([], [])


def test_signals_come_before_the_imports() -> None:
    """What says what signals do while a server starts imports nothing of the server but what that needs."""
    program = "import sys, server.cli.entry; print(*sorted(name for name in sys.modules if name.startswith('server')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    packages = ["server", "server.base", "server.base.terminal", "server.cli"]
    assert done.stdout.split() == [*packages, "server.cli.entry", "server.cli.exit_codes"]


def test_start_with_a_backlog(children: Children) -> None:
    """Pending events of a source that is no longer configured stay; of one that is, they go on in order."""
    child = children(source("worked", processor="processors:plain", rate_limit_events_per_second=1e-6))
    child.start()
    child.post("worked", [item("a"), item("b"), item("c")])
    eventually(lambda: pending(child, "worked") == 2)
    child.kill()
    child.write(ARCHIVE)
    child.start()
    assert pending(child, "worked") == 2
    assert child.admin("/receipts/worked/c").json["pending"] is True
    child.kill()
    child.write(source("worked", processor="processors:plain"))
    child.start()
    eventually(lambda: pending(child, "worked") == 0)


@pytest.mark.parametrize("limit", [{}, {"rate_limit_events_per_second": 1e-6}])
def test_skipped_events_are_fed(children: Children, limit: dict[str, float]) -> None:
    """Events before the oldest pending one that the totals name, as a bug had left them, are worked after a start."""
    child = children(source("worked", processor="processors:plain", **limit))
    child.start()
    with shut_gate(child):
        child.post("worked", [item("a", do="hang"), item("b"), item("c")])
        eventually(lambda: calls(child))
        child.post("worked", [item("d"), item("e")])
        child.kill()
    raise_oldest(child, "worked", 5)
    child.write(source("worked", processor="processors:plain"))
    child.start()
    child.post("worked", item("f"))
    eventually(lambda: pending(child, "worked") == 0)
    assert child.wait_for_line("events had been skipped")["first"] == 1
    assert sorted(event_id for _, event_id in read_books(child).processed()) == ["a", "b", "c", "d", "e", "f"]
    check_identity(child)


def test_an_old_store_says_that_nothing_leaves(children: Children) -> None:
    """Of a store from before there was retention readiness says so, until the section is in the configuration."""
    child = children(ARCHIVE)
    with opened(child.store) as (store, _), store.write_transaction() as txn:
        txn.delete(RETENTION_KEY, db=store.meta)
    for sections, warnings in ((ARCHIVE, ["retention_unset"]), ("[retention]\n" + ARCHIVE, [])):
        child.write(sections)
        child.start()
        assert [each["warning"] for each in child.request("GET", "/readyz").json["warnings"]] == warnings
        assert child.admin("/sources").json["capacity"]["retention"] is not bool(warnings)
        child.stop()


def raise_oldest(child: Child, source_id: str, number: int) -> None:
    """Make the totals of a source name this event as its oldest pending one."""
    key = totals_key(source_id)
    store = Store.open(child.store, map_size_bytes=2**30, mode="write")
    try:
        with store.write_transaction() as txn:
            totals = replace(decode_totals(key, txn.get(key, db=store.meta)), oldest=number)
            txn.put(key, encode_totals(key, totals), db=store.meta)
    finally:
        store.close()
