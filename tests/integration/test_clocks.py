"""Clocks that jump, as a sender and an operator see them: what is a duplicate, for how long, and what is said of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import item
from tests.support.clocks import HOUR_MS, Clocks
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


@pytest.mark.parametrize("wall_hours", [-50 * YEAR_HOURS, 0, 200 * YEAR_HOURS], ids=["back", "stands", "ahead"])
@pytest.mark.parametrize("between", [lambda child: None, restart], ids=["running", "restarted"])
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
