"""What leaves the store, as a sender and an operator see it: what is said of it, what stays, and that it adds up."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.client import item
from tests.support.clocks import Clocks, faked
from tests.support.config import source
from tests.support.ledger import check_identity, pending, receipts, statuses, totals
from tests.support.server import Child, Children
from tests.support.store import opened
from tests.support.waiting import eventually

ARCHIVE_HOURS, RECEIPT_HOURS = 168, 720
YEAR_HOURS = 24 * 365
BLOCK_EVENTS = 300
"""More than a block takes others to."""

MakeChild = Callable[..., Child]


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks:
    return Clocks(tmp_path / "clocks")


@pytest.fixture
def timed(children: Children, clocks: Clocks) -> Child:
    """A server with the defaults, whose time is the test's."""
    return children(source("demo"), launch=["--clocks", str(clocks.path), "--eager-retention"])


def send(child: Child, body: object) -> str:
    """Send it; return its delivery once all of it has an outcome."""
    answer = child.post("demo", body)
    assert answer.status == 200
    eventually(lambda: pending(child, "demo") == 0)
    return str(answer.json["delivery"])


def look_up(child: Child, kind: str, key: str) -> tuple[int, dict[str, Any]]:
    answer = child.admin(f"/{kind}/{key}")
    return answer.status, answer.json


def has_left(child: Child, kind: str, key: str) -> bool:
    status, found = look_up(child, kind, key)
    return status == 404 and found["code"] == "expired"


def test_the_oldest_bodies_leave_first(children: Children) -> None:
    """Over the bound the oldest bodies leave, and look-ups say so; a dead event keeps its body, so that it is processed
    once it is requeued, and leaves then; what has left is counted, and verify adds up."""
    processed = source("demo", processor="processors:plain", processor_attempts_max=1)
    child = children(f"[retention]\narchive_bytes_max = 65536\n{processed}", launch=["--eager-retention"])
    child.start()
    random = Random(5)
    send(child, item("poison", do="fail", times=1, pad=random.randbytes(500).hex()))
    (dead,) = receipts(child, "demo", "poison")
    assert dead["outcome"] == "dead"
    first = send(child, [item(f"old-{at}", pad=random.randbytes(500).hex()) for at in range(50)])
    for turn in range(6):
        send(child, [item(f"new-{turn}-{at}", pad=random.randbytes(500).hex()) for at in range(50)])
    eventually(lambda: has_left(child, "events", "demo/old-0"))
    (receipt,) = receipts(child, "demo", "old-49")
    assert receipt["archive"] == "expired"
    assert receipt["archive_expired_at"] >= receipt["finished_at"]
    delivery = look_up(child, "deliveries", first)[1]
    assert (delivery["archive"], len(delivery["items"])) == ("expired", 50)
    done = child.cli("event", "demo", "old-0")
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "expired")
    assert "archive_bytes_max); its receipt is still there" in json.loads(done.stdout)["message"]
    assert look_up(child, "events", "demo/new-5-49")[0] == 200
    assert "archive" not in receipts(child, "demo", "new-5-49")[0]
    assert look_up(child, "events", "demo/poison")[1]["payload"]["do"] == "fail"
    assert child.metrics()['tidegate_events_expired_total{source="demo"}'] >= 50
    child.cli("requeue", "demo", "poison", check=True)
    eventually(lambda: statuses(child, "demo", "poison") == ["processed"])
    check_identity(child)
    assert child.stop() == 0
    assert child.errors == []


def test_retention_that_cannot_read_warns(children: Children) -> None:
    """What cannot be read stays, and the log and readiness say so; deliveries, outcomes and a drain go on."""
    child = children(f"[retention]\narchive_bytes_max = 65536\n{source('demo')}", launch=["--eager-retention"])
    child.start()
    send(child, [item(f"old-{at}") for at in range(50)])
    assert child.stop() == 0
    with opened(child.store) as (store, _), store.env.begin(write=True) as txn:
        for key, value in list(txn.cursor(db=store.facts)):
            txn.put(key, bytes([value[0] ^ 255]) + value[1:], db=store.facts)
    child.start()
    for turn in range(2):
        send(child, [item(f"new-{turn}-{at}", pad=Random(at).randbytes(1000).hex()) for at in range(100)])
    eventually(lambda: child.lines_of("nothing leaves the store: it cannot be read"))
    assert "retention_failed" in [each["warning"] for each in child.admin("/readyz").json["warnings"]]
    assert send(child, item("last"))
    assert child.stop() == 0


def test_no_wall_clock_removes_anything_early(timed: Child, clocks: Clocks) -> None:
    """A wall clock that is a year ahead removes nothing, while the server runs and at its start, and one that is set
    back keeps nothing: bodies leave once their hours have passed since the boot."""
    timed.start()
    send(timed, item("a"))
    clocks.pass_hours(ARCHIVE_HOURS - 1, wall_hours=YEAR_HOURS)
    send(timed, item("b"))
    assert look_up(timed, "events", "demo/a")[0] == 200
    timed.kill()
    clocks.pass_hours(0, wall_hours=YEAR_HOURS)
    timed.start()
    send(timed, item("c"))
    assert look_up(timed, "events", "demo/a")[0] == 200
    clocks.pass_hours(2, wall_hours=-3 * YEAR_HOURS)
    eventually(lambda: has_left(timed, "events", "demo/a"))
    assert look_up(timed, "events", "demo/b")[0] == 200
    check_identity(timed)


def test_bodies_leave_before_1970(timed: Child, clocks: Clocks) -> None:
    """With a wall clock that stands before 1970 a body leaves, too, and is said to have left."""
    clocks.set_wall(-YEAR_HOURS * 3_600_000 * 10)
    timed.start()
    send(timed, item("a"))
    clocks.pass_hours(ARCHIVE_HOURS + 1)
    send(timed, item("b"))
    eventually(lambda: has_left(timed, "events", "demo/a"))
    assert [each["archive"] for each in receipts(timed, "demo", "a")] == ["expired"]
    check_identity(timed)


def test_withheld_time_removes_nothing(timed: Child, clocks: Clocks) -> None:
    """What a wall clock says of a reboot of over a day removes nothing before `trust-clock` says what it will."""
    timed.start()
    send(timed, item("a"))
    clocks.pass_hours(ARCHIVE_HOURS - 60)
    send(timed, item("then"))
    timed.kill()
    clocks.reboot(wall_hours=80)
    timed.start()
    send(timed, item("b"))
    with faked(clocks.path):
        said = json.loads(timed.cli("trust-clock", "--dry-run", check=True).stdout)
    assert (said["bodies_expiring"], said["receipts_expiring"]) == (1, 0)
    assert look_up(timed, "events", "demo/a")[0] == 200
    with faked(clocks.path):
        timed.cli("trust-clock", check=True)
    eventually(lambda: has_left(timed, "events", "demo/a"))
    assert look_up(timed, "events", "demo/b")[0] == 200


def test_receipts_leave_after_their_bodies(timed: Child, clocks: Clocks) -> None:
    """Receipts leave later than bodies: their delivery is known to have left, their ids are new again, numbers go on
    over a restart, and all that came is still counted."""
    timed.start()
    first = send(timed, [item(f"id-{at}") for at in range(BLOCK_EVENTS)])
    second = send(timed, item("later"))
    clocks.pass_hours(RECEIPT_HOURS - 1)
    eventually(lambda: has_left(timed, "events", "demo/id-0"))
    assert statuses(timed, "demo", "id-0") == ["processed"]
    clocks.pass_hours(2)
    eventually(lambda: has_left(timed, "deliveries", first))
    done = timed.cli("delivery", first)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (1, "expired")
    assert receipts(timed, "demo", "id-0") == []
    assert look_up(timed, "deliveries", second)[1]["archive"] == "expired"
    timed.kill()
    timed.start()
    assert send(timed, item("id-0")) > second
    assert statuses(timed, "demo", "id-0") == ["processed"]
    counts = totals(timed)["demo"]
    assert (counts["received"], counts["processed"]) == (BLOCK_EVENTS + 2, BLOCK_EVENTS + 2)
    assert (counts["expired"], counts["expired_processed"]) == (BLOCK_EVENTS + 1, BLOCK_EVENTS)
    check_identity(timed)


def test_a_paused_source_keeps_what_it_has(children: Children, clocks: Clocks) -> None:
    """What is pending outlives every time, and then its time counts from its outcome."""
    child = children(source("demo", paused=True), launch=["--clocks", str(clocks.path), "--eager-retention"])
    child.start()
    assert child.post("demo", item("a")).status == 200
    clocks.pass_hours(RECEIPT_HOURS + YEAR_HOURS)
    child.write(source("demo"))
    child.reload()
    eventually(lambda: statuses(child, "demo", "a") == ["processed"])
    assert look_up(child, "events", "demo/a")[0] == 200
    clocks.pass_hours(ARCHIVE_HOURS + 1)
    eventually(lambda: has_left(child, "events", "demo/a"))
    check_identity(child)
