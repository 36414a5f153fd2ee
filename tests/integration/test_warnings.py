"""What a real server tells of its state: warnings of readiness, gauges, and the log of a store that refuses."""

import random
from pathlib import Path

import pytest

from tests.support.client import item
from tests.support.clocks import Clocks
from tests.support.config import source
from tests.support.ledger import pending
from tests.support.server import Child, Children
from tests.support.waiting import eventually

REFUSES, TAKES = "the store refuses deliveries", "the store takes deliveries again"


def warnings(child: Child) -> dict[str, str]:
    """What readiness warns of, by name."""
    return {each["warning"]: each["message"] for each in child.request("GET", "/readyz").json["warnings"]}


def test_a_full_backlog_is_told(children: Children) -> None:
    """A source whose backlog is full, one that is paused and none else: warnings, and gauges that say the same."""
    queue = "[queue]\nbacklog_events_max = 3\n"
    with children(queue + source("full", paused=True) + source("other")) as child:
        assert set(warnings(child)) == {"paused"}
        for number in range(3):
            assert child.post("full", item(f"id-{number}")).status == 200
        assert child.post("full", item("id-3")).json["code"] == "overloaded"
        assert set(warnings(child)) == {"paused", "overloaded"}
        assert warnings(child)["overloaded"].startswith("source full: 3 events are pending")
        found = child.metrics()
        assert found['tidegate_source_overloaded{source="full"}'] == 1
        assert found['tidegate_source_overloaded{source="other"}'] == 0
        assert found["tidegate_ready"] == 1


def test_a_stuck_source_is_told(children: Children) -> None:
    """A processor that only fails, and an event that waits on disk behind others: each is stuck, and nothing else."""
    sections = source("fails", processor="processors:always_fails", stuck_after_seconds=0.001) + source("works")
    with children(sections) as child:
        assert child.post("fails", item("a")).status == 200
        assert child.post("works", item("a")).status == 200
        eventually(lambda: "stuck" in warnings(child))
        assert warnings(child)["stuck"].startswith("source fails: ")
        found = child.metrics()
        assert found['tidegate_source_stuck{source="fails"}'] == 1
        assert found['tidegate_source_stuck{source="works"}'] == 0


def test_a_week_left_is_told(children: Children, tmp_path: Path) -> None:
    """A store that is full within a week at the rate of the last hour: a warning, and a gauge that says when; not
    before the rate is known."""
    gauge, clocks = "tidegate_store_full_timestamp_seconds", Clocks(tmp_path / "clocks")
    storage = f"[storage]\nmap_size_bytes = {64 * 2**20}\n"
    with children(storage + source("demo"), launch=["--clocks", str(clocks.path)]) as child:
        for number in range(8):
            large = random.Random(number).randbytes(500_000).hex()
            assert child.post("demo", item(f"id-{number}", text=large)).status == 200
        eventually(lambda: pending(child, "demo") == 0)
        assert "store_week_left" not in warnings(child)
        assert gauge not in child.metrics()
        assert child.stop() == 0
        clocks.pass_hours(1)
        child.start()  # it looks ahead at once, and then every minute
        eventually(lambda: "store_week_left" in warnings(child))
        assert 0 < child.metrics()[gauge] - clocks.wall_ms / 1000 < 7 * 86_400


def test_a_refused_reload_is_told(children: Children) -> None:
    """While the last file was refused the gauge is 0 and readiness warns, without a word of the file."""
    with children(source("demo")) as child:
        gauge = "tidegate_config_last_reload_successful"
        assert (child.metrics()[gauge], "reload_refused" in warnings(child)) == (1, False)
        child.write(source("demo", over_limit="whenever"))
        child.reload()
        assert (child.metrics()[gauge], "reload_refused" in warnings(child)) == (0, True)
        assert b"whenever" not in child.admin("/readyz").body
        child.write(source("demo"))
        child.reload()
        assert (child.metrics()[gauge], "reload_refused" in warnings(child)) == (1, False)


@pytest.mark.parametrize(("fault", "code"), [("full", "storage_full"), ("other", "storage_failed")])
def test_a_refusing_store_has_two_lines(children: Children, tmp_path: Path, fault: str, code: str) -> None:
    """One line at error while the store refuses, however many senders and tries; one when it takes again."""
    faults = tmp_path / "faults"
    child = children(source("demo"), launch=["--faults", str(faults)])
    child.start()
    faults.write_text(fault)
    assert child.post("demo", item("a")).json["code"] == code
    said = child.wait_for_line(REFUSES)
    assert (said["level"], said["code"]) == ("error", code)
    assert [child.post("demo", item("a")).json["code"] for _ in range(20)] == [code] * 20
    assert child.metrics()["tidegate_ready"] == 0
    faults.unlink()
    said = child.wait_for_line(TAKES)
    assert said["level"] == "info"
    assert said["refused_seconds"] >= 0
    assert child.metrics()["tidegate_ready"] == 1
    assert len(child.lines_of(REFUSES)) == len(child.lines_of(TAKES)) == 1
