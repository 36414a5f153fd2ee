"""Clocks that jump, as a sender and an operator see them: what is a duplicate, for how long, and what is said of it."""

import json
from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("between", "wall_hours"),
    [(lambda child: None, -50 * YEAR_HOURS), (restart, 200 * YEAR_HOURS)],
    ids=["running, back", "restarted, ahead"],
)
def test_an_id_is_known_for_its_window(
    child: Child, clocks: Clocks, between: Callable[[Child], None], wall_hours: int
) -> None:
    """Until the window after its outcome ends an id is a duplicate, and from the next minute on an event of its own,
    wherever the wall clock jumps meanwhile and whether the server was started again."""
    child.start()
    send(child, "a")
    clocks.pass_hours(WINDOW_HOURS - 1 / 60, wall_hours=wall_hours)
    between(child)
    send(child, "a")
    clocks.pass_hours(2 / 60)
    between(child)
    send(child, "a")
    assert statuses(child, "demo", "a") == ["processed", "duplicate", "processed"]
    send(child, "a")
    assert statuses(child, "demo", "a") == ["processed", "duplicate", "processed", "duplicate"]
    check_identity(child)


def test_what_was_processed_in_1970_is_known(child: Child, clocks: Clocks) -> None:
    """An id that was processed while the clock was not set yet is known after it is set, and after a restart then."""
    clocks.set_wall(5 * HOUR_MS)
    child.start()
    send(child, "a")
    clocks.set_wall(56 * YEAR_HOURS * HOUR_MS)
    restart(child)
    send(child, "a")
    assert statuses(child, "demo", "a") == ["processed", "duplicate"]


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
    """What the wall clock says over a reboot is not believed if it is over a day: ids stay, and readiness warns, over
    another restart too."""
    child.start()
    send(child, "a")
    clocks.reboot(wall_hours=200 * YEAR_HOURS)
    restart(child)
    clocks.pass_hours(WINDOW_HOURS - 1)
    send(child, "a")
    assert statuses(child, "demo", "a") == ["processed", "duplicate"]
    restart(child)
    assert len(warned(child)) == 1


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_trusting_the_clock_adds_what_was_withheld(child: Child, clocks: Clocks, *, running: bool) -> None:
    """`trust-clock` says what expires, first without doing it; then ids leave, the warning too, and once is enough."""
    child.start()
    send(child, "a")
    clocks.pass_hours(90)
    send(child, "b")
    clocks.reboot(wall_hours=48)
    restart(child)
    clocks.pass_hours(1)
    said = trusting(child, clocks, "--dry-run", running=running)
    assert said == {"dry_run": True, "withheld_seconds": 48 * 3600.0, "ids_expiring": 1}
    assert trusting(child, clocks, running=running) == said | {"dry_run": False}
    assert trusting(child, clocks, running=running) == {"dry_run": False, "withheld_seconds": 0.0, "ids_expiring": 0}
    if not running:
        child.start()
    assert warned(child) == []
    restart(child)
    assert warned(child) == []
    send(child, "a")
    send(child, "b")
    assert statuses(child, "demo", "a") == ["processed", "processed"]
    assert statuses(child, "demo", "b") == ["processed", "duplicate"]
    check_identity(child)


def trusting(child: Child, clocks: Clocks, *arguments: str, running: bool) -> dict[str, Any]:
    """What `trust-clock` prints, beside the server or after its end."""
    if not running:
        child.kill()
    with faked(clocks.path):
        found: dict[str, Any] = json.loads(child.cli("trust-clock", *arguments).stdout)
    return found


def test_a_step_of_the_clock_is_said(child: Child, clocks: Clocks) -> None:
    """Readiness warns while the wall clock is over an hour from where it was; `trust-clock` ends that, and no id leaves
    with it: time that passes while the server runs is known."""
    child.start()
    clocks.pass_hours(1, wall_hours=1.9)
    assert warned(child) == []
    clocks.pass_hours(1, wall_hours=2)
    assert warned(child) == ["the wall clock was set ahead by 1.9 h"]
    clocks.pass_hours(1, wall_hours=-2)
    assert warned(child) == ["the wall clock was set back by 1.1 h"]
    assert trusting(child, clocks, running=True)["withheld_seconds"] == 0
    assert warned(child) == []


def test_trust_clock_takes_one_key_only(child: Child) -> None:
    """`POST /trust-clock` takes `dry_run`, true or false; anything else is refused."""
    child.start()
    said = {"content-type": "application/json"}
    for body, code in (
        (b"{", "invalid_json"),
        (b"{}", "invalid_request"),
        (b'{"dry_run":1}', "invalid_request"),
        (b'{"dry_run":true,"now":true}', "invalid_request"),
        (b'{"dry_run":true}' + b" " * 2000, "too_large"),
    ):
        answer = child.admin("/trust-clock", method="POST", body=body, headers=said)
        assert (answer.status, answer.json["code"]) == ({"too_large": 413}.get(code, 400), code)
