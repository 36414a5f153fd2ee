"""A store that cannot be written, while the server runs: what it refuses, what goes on, and how it comes back."""

import hashlib
import random
import resource
import signal

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import calls, check_identity, pending, read_books, shut_gate, statuses
from tests.support.server import Child, Children
from tests.support.waiting import eventually

SECTIONS = source("archive") + source("worked", processor="processors:plain")
LAUNCH = ("--faults", "faults")


def fail(child: Child, how: str) -> None:
    """From now on every commit fails so."""
    (child.directory / "faults.new").write_text(how)
    (child.directory / "faults.new").rename(child.directory / "faults")


def heal(child: Child) -> None:
    (child.directory / "faults").unlink()


def reasons(child: Child) -> list[str]:
    """Why it is not ready, by name."""
    answer = child.request("GET", "/readyz")
    found = [each["reason"] for each in answer.json["reasons"]]
    assert answer.status == (503 if found else 200)
    return found


def test_no_answer_without_its_commit(children: Children) -> None:
    """A delivery whose commit fails is refused, and nothing of it is kept."""
    child = children(SECTIONS, launch=LAUNCH)
    child.start()
    assert child.post("archive", item("a")).status == 200
    fail(child, "full")
    assert child.post("archive", item("b")).status == 503
    child.kill()
    books = read_books(child)
    assert ([event.id for event in books.events], books.stored) == (["a"], 1)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("full", "storage_full"),
        ("no space", "storage_full"),
        ("meta page", "storage_full"),
        ("short write", "storage_full"),
        ("other", "storage_failed"),
    ],
)
def test_a_failed_commit_refuses_and_recovers(children: Children, how: str, code: str) -> None:
    """Deliveries get 503 with the reason, readiness names it; when writing works again, all goes on as before.

    A write that a full disk stops short is an I/O error to LMDB, and had wedged the server until a restart.
    """
    child = children(SECTIONS, launch=LAUNCH)
    child.start()
    assert child.post("archive", [item("a"), item("b")]).status == 200
    eventually(lambda: pending(child, "archive") == 0)
    fail(child, how)
    for name in ("archive", "worked"):
        refused = child.post(name, item("c"))
        assert (refused.status, refused.json["code"], refused.headers["retry-after"]) == (503, code, "5")
    assert reasons(child) == [code]
    assert child.admin("/readyz").json == child.request("GET", "/readyz").json
    assert child.admin("/livez").status == 200
    check_identity(child)
    heal(child)
    eventually(lambda: not reasons(child))
    assert child.post("worked", [item("c"), item("d")]).status == 200
    eventually(lambda: pending(child, "worked") == 0)
    assert [event.id for event in read_books(child).events] == ["a", "b", "c", "d"]
    check_identity(child)


def test_a_file_at_its_limit_is_full(children: Children) -> None:
    """Where `ulimit -f` stops the store from growing that is a full disk, short writes too; more room heals it.

    LMDB says EIO for a short write, so the server had taken nothing any more until a restart.
    """
    child = children(SECTIONS)
    child.start()
    child.post("archive", item("a"))
    size = (child.store / "data.mdb").stat().st_size
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (size + 100_000, resource.RLIM_INFINITY))
    sent = [child.post("archive", item(str(number), noise=random.randbytes(30_000).hex())) for number in range(20)]
    assert {answer.json["code"] for answer in sent if answer.status != 200} == {"storage_full"}
    assert reasons(child) == ["storage_full"]
    assert child.admin("/livez").status == 200
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    eventually(lambda: not reasons(child))
    assert child.post("archive", item("z")).status == 200
    check_identity(child)


def test_outcomes_wait_for_a_commit(children: Children) -> None:
    """A call in hand when writing fails is not called again: its outcome waits, and is written later."""
    child = children(SECTIONS, launch=LAUNCH)
    child.start()
    with shut_gate(child):
        child.post("worked", [item("a", do="hang"), item("b", do="result", value=1)])
        eventually(lambda: calls(child))
        fail(child, "full")
        assert child.post("archive", item("refused")).status == 503
    eventually(lambda: child.metrics()['tidegate_processor_seconds_count{source="worked"}'] == 1)
    assert pending(child, "worked") == 2
    heal(child)
    eventually(lambda: pending(child, "worked") == 0)
    assert calls(child) == [["a", "b"]]
    assert child.admin("/events/worked/b").json["result"] == 1
    check_identity(child)


def test_failed_group_changes_no_rate_limit_state(children: Children) -> None:
    """Deferred events of a failed group leave nothing behind: once healed, what comes is not deferred behind them."""
    limit = {"rate_limit_events_per_second": 1000, "rate_limit_burst_events": 1}
    child = children(source("archive", **limit), launch=LAUNCH)
    child.start()
    fail(child, "full")
    assert child.post("archive", [item("a"), item("b"), item("c")]).status == 503
    heal(child)
    eventually(lambda: not reasons(child))
    answer = child.post("archive", item("a"))
    assert (answer.json["accepted"], answer.json["deferred"]) == (1, 0)
    assert pending(child, "archive") in (0, 1)
    eventually(lambda: pending(child, "archive") == 0)


def test_an_io_error_lasts_until_a_restart(children: Children) -> None:
    """After an I/O error nothing is taken until a restart, even when writing would work again; reading goes on."""
    child = children(SECTIONS, launch=LAUNCH)
    child.start()
    child.post("archive", item("a"))
    eventually(lambda: pending(child, "archive") == 0)
    fail(child, "eio")
    assert child.post("archive", item("b")).json["code"] == "storage_failed"
    heal(child)
    assert child.post("archive", item("b")).json["code"] == "storage_failed"
    assert reasons(child) == ["storage_failed"]
    assert child.admin("/livez").status == 503
    assert child.admin("/receipts/archive/a").json["outcome"] == "processed"
    assert child.admin("/events/archive/a").json["inbound_event_id"] == "a"
    check_identity(child)
    assert child.stop() == 0
    child.start()
    assert child.post("archive", item("b")).status == 200
    assert not reasons(child)
    eventually(lambda: pending(child, "archive") == 0)


def test_drain_after_an_io_error(children: Children) -> None:
    """Nothing waits for outcomes that can never be written: the server ends at once, and the event is worked again."""
    child = children(SECTIONS, launch=LAUNCH)
    child.start()
    with shut_gate(child):
        child.post("worked", item("a", do="hang"))
        eventually(lambda: calls(child))
        fail(child, "eio")
        assert child.post("archive", item("b")).json["code"] == "storage_failed"
    eventually(lambda: child.metrics()['tidegate_processor_seconds_count{source="worked"}'] == 1)
    child.signal(signal.SIGTERM)
    assert child.wait() == 0
    assert not child.errors
    heal(child)
    child.start()
    eventually(lambda: pending(child, "worked") == 0)
    assert calls(child) == [["a"], ["a"]]


def test_a_full_map_leaves_room_for_outcomes(children: Children) -> None:
    """On a tiny map deliveries are refused while there is still room for outcomes, and everything taken is finished."""
    child = children("[storage]\nfree_bytes_min = 1\nmap_size_bytes = 4194304\n" + SECTIONS)
    child.start()
    taken = 0
    while (answer := child.post("worked", item(f"id-{taken}", text=_noise(taken)))).status == 200:
        taken += 1
    assert answer.json["code"] == "storage_full"
    assert reasons(child) == ["storage_full"]
    eventually(lambda: pending(child, "worked") == 0)
    assert len(read_books(child).processed()) == taken > 10
    check_identity(child)
    assert child.stop() == 0


def test_the_journal_holds_what_the_store_cannot_take(children: Children) -> None:
    """What got its 200 as writing began to fail waits for the store, also over kill -9; nothing is taken meanwhile."""
    child = children(SECTIONS, launch=(*LAUNCH, "--journal-holds"))
    child.start()
    fail(child, "full")
    assert child.post("worked", item("a")).status == 200
    eventually(lambda: reasons(child) == ["storage_full"])
    assert child.post("worked", item("b")).json["code"] == "storage_full"
    assert child.admin("/events/worked/a").status == 404
    child.kill()
    heal(child)
    assert child.cli("receipt", "worked", "a").stdout.startswith('{"pending":true')
    child.start()
    assert child.post("worked", [item("a"), item("b")]).status == 200
    eventually(lambda: pending(child, "worked") == 0)
    assert statuses(child, "worked", "a") == ["processed", "duplicate"]
    check_identity(child)


def test_a_start_counts_what_the_journal_had(children: Children) -> None:
    """Whoever looks into a crash reads how much of it only the journal had."""
    child = children(SECTIONS, launch=(*LAUNCH, "--journal-holds"))
    child.start()
    fail(child, "full")
    assert child.post("worked", [item("a"), item("b")]).status == 200
    child.kill()
    heal(child)
    child.start()
    assert [line["events"] for line in child.lines if line["event"] == "taken from the journal"] == [2]
    eventually(lambda: pending(child, "worked") == 0)


def test_the_journal_holds_through_a_full_disk(children: Children) -> None:
    """The server that answered goes on with it as soon as there is room."""
    child = children(SECTIONS, launch=(*LAUNCH, "--journal-holds"))
    child.start()
    fail(child, "no space")
    assert child.post("worked", item("a")).status == 200
    eventually(lambda: reasons(child) == ["storage_full"])
    heal(child)
    eventually(lambda: not reasons(child))
    eventually(lambda: pending(child, "worked") == 0)
    assert child.admin("/receipts/worked/a").json["outcome"] == "processed"
    assert child.stop() == 0


def test_a_journal_that_cannot_be_written(children: Children) -> None:
    """Everything works without it; readiness warns."""
    child = children(SECTIONS, launch=("--no-journal",))
    child.start()
    assert [line["error"] for line in child.lines if line["event"].startswith("no journal")] == ["no room"]
    assert child.post("worked", item("a")).status == 200
    eventually(lambda: pending(child, "worked") == 0)
    warnings = child.request("GET", "/readyz").json["warnings"]
    assert [each["warning"] for each in warnings] == ["no_journal"]


def _noise(seed: int) -> str:
    """A text that does not compress."""
    return hashlib.shake_256(b"%d" % seed).hexdigest(30_000)
