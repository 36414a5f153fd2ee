"""Clocks that jump, as a sender and an operator see them: what is a duplicate, for how long, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import item
from tests.support.clocks import HOUR_MS, Clocks, faked
from tests.support.config import source
from tests.support.ledger import check_identity, pending, receipts, statuses
from tests.support.server import Child, Children
from tests.support.waiting import eventually

WINDOW_HOURS = 96
YEAR_HOURS = 24 * 365


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks:
    return Clocks(tmp_path / "clocks")


@pytest.fixture
def child(children: Children, clocks: Clocks) -> Child:
    return children(source("demo"), launch=["--clocks", str(clocks.path)])


def send(child: Child, event_id: str) -> None:
    """Send it; return when it has an outcome."""
    assert child.post("demo", item(event_id)).status == 200
    eventually(lambda: pending(child, "demo") == 0)


def restart(child: Child) -> None:
    """Kill it, so that nothing is written on the way, and start it."""
    child.kill()
    child.start()


def test_an_id_is_known_for_its_window(child: Child, clocks: Clocks) -> None:
    """Until the window after its outcome ends an id is a duplicate, and from the next minute on an event of its own,
    over restarts, and though the clock that said 1970 is set meanwhile."""
    clocks.set_wall(5 * HOUR_MS)
    child.start()
    send(child, "a")
    clocks.pass_hours(WINDOW_HOURS - 1 / 60, wall_hours=56 * YEAR_HOURS)
    restart(child)
    send(child, "a")
    clocks.pass_hours(2 / 60)
    restart(child)
    send(child, "a")
    assert statuses(child, "demo", "a") == ["processed", "duplicate", "processed"]
    send(child, "a")
    assert statuses(child, "demo", "a") == ["processed", "duplicate", "processed", "duplicate"]
    check_identity(child)


@pytest.mark.parametrize(
    ("wall_ms", "said"), [(-1, "1970-01-01T00:00:00.000Z"), (300_000 * 10**9, "9999-12-31T23:59:59.999Z")]
)
def test_any_wall_clock_gets_answers(child: Child, clocks: Clocks, wall_ms: int, said: str) -> None:
    """With a wall clock before 1970 or after 9999 each request gets its answer, and a time that can be said."""
    clocks.set_wall(wall_ms)
    child.start()
    send(child, "a")
    assert child.post("demo", b"{").status == 400
    (receipt,) = receipts(child, "demo", "a")
    assert (receipt["received_at"], receipt["finished_at"]) == (said, said)
    assert child.admin("/metrics").status == child.admin("/sources").status == 200
    assert child.stop() == 0
    assert child.errors == []


def warned(child: Child) -> list[str]:
    """What readiness says of clocks."""
    return [each["message"] for each in child.admin("/readyz").json["warnings"] if each["warning"] == "clock"]


def test_a_reboot_makes_no_id_unknown(child: Child, clocks: Clocks) -> None:
    """What the wall clock says over a reboot is not believed if it is over a day: ids stay, and readiness warns.
    `trust-clock` says what expires, first without doing it; then ids leave, and the warning, for good."""
    child.start()
    send(child, "a")
    clocks.pass_hours(90)
    send(child, "b")
    clocks.reboot(wall_hours=48)
    restart(child)
    clocks.pass_hours(5)
    send(child, "a")
    assert warned(child)
    said = trusting(child, clocks, "--dry-run")
    nothing = {"bodies_expiring": 0, "receipts_expiring": 0}
    assert said == {"dry_run": True, "withheld_seconds": 48 * 3600.0, "ids_expiring": 1} | nothing
    assert trusting(child, clocks) == said | {"dry_run": False}
    assert trusting(child, clocks) == {"dry_run": False, "withheld_seconds": 0.0, "ids_expiring": 0} | nothing
    assert warned(child) == []
    restart(child)
    assert warned(child) == []
    send(child, "a")
    send(child, "b")
    assert statuses(child, "demo", "a") == ["processed", "duplicate", "processed"]
    assert statuses(child, "demo", "b") == ["processed", "duplicate"]
    check_identity(child)


def trusting(child: Child, clocks: Clocks, *arguments: str) -> dict[str, Any]:
    """What `trust-clock` prints beside the server."""
    with faked(clocks.path):
        found: dict[str, Any] = json.loads(child.cli("trust-clock", *arguments, check=True).stdout)
    return found


def test_a_step_of_the_clock_is_said(child: Child, clocks: Clocks) -> None:
    """Readiness warns while the wall clock is over an hour from where it was; `trust-clock` ends that, and no id leaves
    with it: time that passes while the server runs is known. The admin side takes its one key only."""
    child.start()
    clocks.pass_hours(1, wall_hours=1.9)
    assert warned(child) == []
    clocks.pass_hours(1, wall_hours=2)
    assert warned(child) == ["the wall clock was set ahead by 1.9 h"]
    clocks.pass_hours(1, wall_hours=-2)
    assert warned(child) == ["the wall clock was set back by 1.1 h"]
    for body, code in (
        (b"{", "invalid_json"),
        (b"{}", "invalid_request"),
        (b'{"dry_run":1}', "invalid_request"),
        (b'{"dry_run":true,"now":true}', "invalid_request"),
        (b'{"dry_run":true}' + b" " * 2000, "too_large"),
    ):
        answer = child.admin("/trust-clock", method="POST", body=body, headers={"content-type": "application/json"})
        assert (answer.status, answer.json["code"]) == ({"too_large": 413}.get(code, 400), code)
    assert warned(child)
    assert trusting(child, clocks)["withheld_seconds"] == 0
    assert warned(child) == []
