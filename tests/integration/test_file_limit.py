"""A limit of open files that is met: at the start, and while the server runs."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.client import Session, item
from tests.support.config import source
from tests.support.ledger import pending
from tests.support.server import Child, Children
from tests.support.waiting import eventually

TAKES_ALL = """
import os

taken = []


async def take(events):
    try:
        while not events[0]["payload"].get("back"):
            taken.append(os.dup(0))
    except OSError:
        return
    while taken:
        os.close(taken.pop())
"""
SECTIONS = source("archive") + source("taker", processor="takes_all:take")


def limited(children: Children, count: int) -> Child:
    """A server that may have so many open files."""
    child = children(SECTIONS)
    child.command = ["/bin/sh", "-c", f'ulimit -n {count}; exec "$@"', "sh", *child.command]
    (child.directory / "takes_all.py").write_text(TAKES_ALL)
    return child


@pytest.mark.parametrize("count", [16, 40])
def test_a_start_with_too_few_files(children: Children, count: int) -> None:
    """One line names the limit and what is needed, before a store is made; it had been a traceback."""
    child = limited(children, count)
    code, words = child.start_that_fails()
    assert (code, len(words.splitlines()), f"may have {count} open files" in words) == (1, 1, True), words
    assert not child.store.exists()


def test_requests_are_answered_without_a_file_left(children: Children) -> None:
    """Whoever is connected is served while no file can be opened; a new connection is when there is one again.

    The first request for the application had been cut off, with a traceback: its router had something to import.
    """
    child = limited(children, 100)
    child.start()
    with ExitStack() as stack:
        public, fast, admin = (
            stack.enter_context(Session(port)) for port in (child.port, child.port, child.admin_port)
        )
        before = open_files(child)
        for session in (public, fast, admin):
            session.connect()
        eventually(lambda: open_files(child) == before + 3)
        assert fast.post("taker", item("a")).status == 200
        eventually(lambda: open_files(child) == 100)
        assert public.ask("GET", "/nowhere", None, {}).status == 404
        assert fast.post("archive", item("a")).status == 200
        for path, status in asked().items():
            assert admin.ask("GET", path, None, {}).status == status, path
        assert fast.post("taker", item("b", back=True)).status == 200
    eventually(lambda: pending(child, "taker") == 0)
    assert not [line for line in child.lines if "exception" in line], child.lines
    assert child.stop() == 0
    assert child.errors == []


def open_files(child: Child) -> int:
    return len(list(Path(f"/proc/{child.pid}/fd").iterdir()))


def asked() -> Mapping[str, int]:
    """Paths of the admin side, with the status of their answers."""
    return {"/readyz": 200, "/metrics": 200, "/sources": 200, "/receipts/archive/b": 404, "/dead": 200, "/nowhere": 404}


def test_a_drain_needs_no_file(children: Children) -> None:
    """Where no file can be opened a drain goes as ever; the socket of its message had been one too many."""
    child = limited(children, 100)
    child.environment["NOTIFY_SOCKET"] = str(child.directory / "nobody")
    child.start()
    with child.session() as session:
        session.post("taker", item("a"))
        eventually(lambda: open_files(child) == 100)
        assert child.stop() == 0
    assert child.lines_of("stopped")
    assert child.errors == []
