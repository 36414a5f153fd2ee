"""SIGHUP on the running server: sources and secrets change at once, or not at all, and nothing in hand is lost."""

import os
import signal
import threading
from dataclasses import dataclass, field

import pytest

from tests.support.client import item
from tests.support.config import TOKEN, source
from tests.support.ledger import calls, check_identity, noted, pending, read_books, shut_gate
from tests.support.server import Child, Children
from tests.support.waiting import eventually

ARCHIVE = source("archive")
CLIENTS = 3


@dataclass
class Clients:
    """Send one event after the other with the token in force, until told to stop; remember what was not a 200."""

    child: Child
    token: str
    answers: list[tuple[str, int]] = field(default_factory=list)
    """Token and status."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Clients":
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with self.child.session() as session:
            while not self._stop.is_set():
                token = self.token
                self.answers.append((token, session.post("archive", {"id": 1}, token=token).status))

    def use(self, token: str) -> None:
        """Return when every request with another token has its answer."""
        self.token = token
        self.wait_for(CLIENTS * 5)

    def wait_for(self, more: int) -> None:
        wanted = len(self.answers) + more
        eventually(lambda: len(self.answers) >= wanted)


def test_a_new_source_counts_from_zero(children: Children) -> None:
    """Each series of a source is there at 0 before its first event, at the start and for one that a reload brings."""
    child = children(source("first"))
    with child:
        child.write(source("first") + source("later"))
        child.reload()
        samples = child.metrics()
        of_sources = {name: value for name, value in samples.items() if 'source="' in name}
        assert {name.replace("later", "first") for name in of_sources if '"later"' in name} == {
            name for name in of_sources if '"first"' in name
        }
        assert len(of_sources) > 30
        assert set(of_sources.values()) == {0}


HANGS_UP = """
import os, pathlib, signal

config = pathlib.Path("tidegate.toml")
config.write_text(config.read_text().replace("token-before", "token-after"))
os.kill(os.getpid(), signal.SIGHUP)

def handle(events):
    pass
"""


def test_a_reload_during_the_start_is_kept(children: Children) -> None:
    """A SIGHUP that comes when the file was read already, and nothing listens yet, has it read again then."""
    child = children(source("slow", processor="hangs_up:handle", tokens=["token-before"]))
    (child.directory / "hangs_up.py").write_text(HANGS_UP.replace("tidegate.toml", str(child.config)))
    child.start()
    child.wait_for_line("reloaded")
    assert child.post("slow", {"id": 1}, token="token-before").status == 401
    assert child.post("slow", {"id": 1}, token="token-after").status == 200
    assert child.stop() == 0


def test_token_rotation_under_load(children: Children) -> None:
    """Old token, both, new token: no request fails on the way, and then the old one is refused."""
    old, new = "old-token-of-the-tests", "new-token-of-the-tests"
    child = children(source("archive", tokens=[old]))
    child.start()
    with Clients(child, old) as clients:
        clients.wait_for(10)
        child.write(source("archive", tokens=[old, new]))
        child.reload()
        clients.wait_for(10)
        clients.use(new)
        child.write(source("archive", tokens=[new]))
        child.reload()
        clients.wait_for(10)
    assert {status for _, status in clients.answers} == {200}
    assert child.post("archive", {"id": 1}, token=old).status == 401
    assert len(read_books(child).events) == len(clients.answers)


def test_bad_file_keeps_the_old(children: Children) -> None:
    """A file with mistakes changes nothing; each mistake is said with its key."""
    child = children(ARCHIVE)
    child.start()
    child.write(source("archive", rate_limit_events_per_second=-1, tokens=[]) + source("another"))
    mistakes = [line["mistake"] for line in child.reload()]
    assert sorted(mistake.split(":")[0] for mistake in mistakes) == [
        "sources.archive.rate_limit_events_per_second",
        "sources.archive.tokens",
    ]
    assert child.post("archive", {"id": 1}).status == 200
    assert child.post("another", {"id": 1}).status == 401
    child.write(source("archive", processor="nowhere:nothing"))
    (line,) = child.reload()
    assert "nowhere:nothing" in line["mistake"]
    assert child.post("archive", {"id": 1}).status == 200


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "GeneratorExit", "BaseException('own')", "SystemExit(4)"])
def test_module_that_raises_anything(children: Children, raised: str) -> None:
    """A processor that cannot be imported changes nothing, whatever it raises; a start and `check` exit 2."""
    child = children(ARCHIVE)
    (child.directory / "broken.py").write_text(f"raise {raised}\n")
    child.start()
    child.write(source("archive", processor="broken:work"))
    (line,) = child.reload()
    assert "broken:work" in line["mistake"]
    assert child.post("archive", {"id": 1}).status == 200
    assert child.stop() == 0
    checked = child.cli("check")
    for code, words in (child.start_that_fails(), (checked.returncode, checked.stderr)):
        assert (code, len(words.splitlines())) == (2, 1)
        assert "broken:work" in words


def test_key_that_needs_a_restart(children: Children) -> None:
    """A changed key outside of the sources is named, and not taken over; the sources are."""
    child = children(ARCHIVE)
    child.start()
    child.write("[limits]\nbatch_events_max = 1\n" + ARCHIVE + source("another"))
    said = child.reload()
    assert [line["key"] for line in said if "key" in line] == ["limits.batch_events_max"]
    assert child.post("another", [{"id": 1}, {"id": 2}]).status == 200


def test_a_needed_restart_is_told_until_restored(children: Children) -> None:
    """Each reload compares with what the process was started with, not with what was read last."""
    child = children(ARCHIVE)
    child.start()
    changed = "[limits]\nbatch_events_max = 1\n" + ARCHIVE
    child.write(changed)
    for _ in range(2):
        assert [line["key"] for line in child.reload() if "key" in line] == ["limits.batch_events_max"]
    child.write(ARCHIVE)
    assert [line for line in child.reload() if "key" in line] == []


def test_a_removed_source_is_closed_not_forgotten(children: Children) -> None:
    """401 at once; the call in hand finishes and counts; what is pending is counted, looked up, and goes on later."""
    worked = source("worked", processor="processors:plain", processor_batch_events_max=1)
    child = children(ARCHIVE + worked)
    child.start()
    with shut_gate(child):
        child.post("worked", [item("a", do="hang"), item("b"), item("c")])
        eventually(lambda: calls(child))
        child.write(ARCHIVE)
        child.reload()
        gone, never_was = child.post("worked", item("d")), child.post("nowhere", item("d"))
        assert (gone.status, gone.body) == (401, never_was.body)
        assert pending(child, "worked") == 3
    eventually(lambda: pending(child, "worked") == 2)
    assert child.admin("/receipts/worked/a").json["outcome"] == "processed"
    assert child.admin("/receipts/worked/b").json["pending"] is True
    check_identity(child)
    child.write(ARCHIVE + worked)
    child.reload()
    eventually(lambda: pending(child, "worked") == 0)
    assert calls(child) == [["a"], ["b"], ["c"]]
    assert child.post("worked", item("d")).status == 200


def test_a_new_processor_follows_the_call_in_hand(children: Children) -> None:
    """The new processor takes over after the call in hand, and no event is with both."""
    keys = {"processor_batch_events_max": 1}
    child = children(source("worked", processor="processors:plain", **keys))
    child.start()
    with shut_gate(child):
        child.post("worked", [item("a", do="hang"), item("b")])
        eventually(lambda: calls(child))
        child.write(source("worked", processor="processors:other", **keys))
        child.reload()
        child.post("worked", item("c"))
    eventually(lambda: pending(child, "worked") == 0)
    assert [(line["name"], line["ids"]) for line in noted(child, "calls")] == [
        ("plain", ["a"]),
        ("other", ["b"]),
        ("other", ["c"]),
    ]


def test_a_hanging_former_processor_is_a_warning(children: Children) -> None:
    """Where the former processor's call does not come back, readiness says that a restart is needed."""
    child = children(source("worked", processor="processors:plain", processor_timeout_seconds=0.1))
    child.start()
    with shut_gate(child):
        child.post("worked", item("a", do="hang"))
        eventually(lambda: calls(child))
        child.write(source("worked", processor="processors:other"))
        child.reload()
        eventually(lambda: child.admin("/readyz").json["warnings"])
        child.post("worked", item("b"))
        eventually(lambda: child.admin("/sources").json["sources"][0]["since_start"]["last_error"])
        (warning,) = child.admin("/readyz").json["warnings"]
        assert (warning["warning"], "worked" in warning["message"]) == ("processor_hanging", True)
    eventually(lambda: pending(child, "worked") == 0)
    assert not child.admin("/readyz").json["warnings"]


@pytest.mark.parametrize("then", ["replaced", "removed", "stopped"])
def test_a_call_within_its_time_does_not_hang(children: Children, then: str) -> None:
    """A call in hand is no hanging one: not when its processor is replaced or removed, nor when the server drains."""
    child = children(ARCHIVE + source("worked", processor="processors:plain"))
    child.start()
    with shut_gate(child):
        child.post("worked", item("a", do="hang"))
        eventually(lambda: calls(child))
        if then == "stopped":
            child.signal(signal.SIGTERM)
            eventually(lambda: child.admin("/readyz").status == 503)
        else:
            child.write(ARCHIVE + (source("worked", processor="processors:other") if then == "replaced" else ""))
            child.reload()
        assert [child.admin("/readyz").json["warnings"] for _ in range(30)] == [[]] * 30


def test_module_is_not_imported_anew(children: Children) -> None:
    """A reload neither runs a loaded processor module again nor takes its changed text over."""
    worked = source("worked", processor="processors:plain")
    child = children(worked)
    child.start()
    path = child.directory / "processors.py"
    path.write_text(path.read_text().replace('work("plain", events)', 'work("changed", events)'))
    child.write(worked + source("second", processor="processors:other"))
    child.reload()
    child.post("worked", item("a"))
    child.post("second", item("b"))
    eventually(lambda: len(noted(child, "calls")) == 2)
    assert sorted(line["name"] for line in noted(child, "calls")) == ["other", "plain"]
    assert len(noted(child, "imports")) == 1


def test_a_slow_import_stops_nobody(children: Children) -> None:
    """While a reload imports a processor's module, deliveries are answered as before."""
    child = children(ARCHIVE + source("worked", processor="processors:plain"))
    child.start()
    (child.directory / "slow.py").write_text(
        "import processors\nprocessors.note('slow')\nprocessors.wait_for_gate()\nplain = processors.plain\n"
    )
    with shut_gate(child):
        child.write(ARCHIVE + source("slow", processor="slow:plain"))
        child.signal(signal.SIGHUP)
        eventually(lambda: noted(child, "slow"))
        assert child.post("archive", {"id": 1}).status == 200
        assert child.post("slow", {"id": 1}).status == 401
    child.wait_for_line("reloaded")
    assert child.post("slow", {"id": 1}).status == 200


def test_a_secret_in_a_fifo_stops_nobody(children: Children) -> None:
    """A FIFO is no file that holds a secret: a reload says so at once, and goes on with the old ones."""
    child = children(ARCHIVE)
    child.start()
    os.mkfifo(child.directory / "fifo")
    child.write(source("archive", tokens=["file:fifo"]))
    (line,) = child.reload()
    assert "not a regular file" in line["mistake"]
    assert child.post("archive", {"id": 1}).status == 200


def test_an_emptied_file_is_not_taken_over(children: Children) -> None:
    """A file without any source, as an editor or a full disk leaves it, closes no source."""
    child = children(ARCHIVE)
    child.start()
    child.config.write_text("")
    (mistake,) = [line["mistake"] for line in child.reload() if "mistake" in line]
    assert mistake.startswith("sources: the file has none")
    assert child.post("archive", {"id": 1}).status == 200


def test_token_of_the_tests_is_no_secret(children: Children) -> None:
    """Neither a start nor a reload, good or bad, says a secret in the log."""
    child = children(ARCHIVE)
    child.start()
    child.reload()
    child.write(ARCHIVE + "unknown = 1\n")
    child.reload()
    assert TOKEN not in str(child.lines) + str(child.errors)
