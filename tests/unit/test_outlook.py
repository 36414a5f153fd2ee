"""server/observe/outlook.py: how long the store holds, as it is shown."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.config.load import load
from server.observe.outlook import Capacity
from storage.errors import StoreDamaged
from storage.read.usage import Usage

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
USAGE = Usage(archive_bytes=30_000, receipt_bytes=10_000, archived=100, events=100, came=86_400, measured_ms=DAY_MS)


class World:
    """A store that holds this, or is damaged, and has so much left."""

    def __init__(self, usage: Usage | StoreDamaged, bytes_left: float) -> None:
        self.found = usage
        self.bytes_left = bytes_left

    def usage(self, now_ms: int) -> Usage:
        if isinstance(self.found, StoreDamaged):
            raise self.found
        return self.found

    def now_ms(self) -> int:
        return NOW_MS


def capacity(tmp_path: Path, usage: Usage | StoreDamaged, bytes_left: float, *, retention: bool = False) -> Capacity:
    path = tmp_path / "tidegate.toml"
    path.write_text('[sources.a]\ntype = "webhook"\ntokens = ["t"]\nrate_limit_events_per_second = 2\n')
    config, world = load(path), World(usage, bytes_left)
    fake: Any = world
    return Capacity(config, lambda: config.sources, fake, fake, fake, retention=retention)


def test_both_rates_are_shown(tmp_path: Path) -> None:
    """Days, bytes and the date at the measured and at the configured rate, and over which time it was measured."""
    found = capacity(tmp_path, USAGE, 400 * 86_400 * 10)
    assert found.describe() == {
        "bytes_left": 400 * 86_400 * 10,
        "retention": False,
        "bytes_per_event": 400,
        "measured": {
            "over_seconds": 86_400,
            "events_per_second": 1,
            "bytes_per_day": 400 * 86_400,
            "steady_bytes": None,
            "days_left": 10,
            "full_at": "2023-11-24T22:13:20.000Z",
        },
        "configured": {
            "events_per_second": 2,
            "bytes_per_day": 2 * 400 * 86_400,
            "steady_bytes": None,
            "days_left": 5,
            "full_at": "2023-11-19T22:13:20.000Z",
        },
    }
    found.look_ahead()
    assert found.full_at_seconds == (NOW_MS + 10 * DAY_MS) / 1000


def test_a_store_that_is_never_full(tmp_path: Path) -> None:
    """With retention that fits there is no date, and what the store will hold is said."""
    found = capacity(tmp_path, USAGE, 10**12, retention=True)
    measured: Any = found.describe()["measured"]
    assert (measured["days_left"], measured["full_at"]) == (None, None)
    assert measured["steady_bytes"] == 86_400 * (7 * 300 + 30 * 100)
    found.look_ahead()
    assert found.full_at_seconds == math.inf


@pytest.mark.parametrize("bytes_left", [1e30, 1e12])
def test_a_date_has_four_digits_for_its_year(tmp_path: Path, bytes_left: float) -> None:
    """What is further away than the year 9999 has days and no date."""
    slow = replace(USAGE, came=1)
    measured: Any = capacity(tmp_path, slow, bytes_left).describe()["measured"]
    assert measured["days_left"] > 10**6
    assert measured["full_at"] is None


def test_what_was_not_measured_is_not_said(tmp_path: Path) -> None:
    """Without events, or in too little time, there is nothing but what is left."""
    found = capacity(tmp_path, replace(USAGE, measured_ms=0), 10)
    assert found.describe()["measured"] is None
    found.full_at_seconds = 1.0
    found.look_ahead()
    assert found.full_at_seconds is None
    empty = capacity(tmp_path, Usage(0, 0, 0, 0, 0, 0), 10).describe()
    assert (empty["bytes_per_event"], empty["measured"], empty["configured"]) == (None, None, None)


def test_damage_hides_only_the_outlook(tmp_path: Path) -> None:
    """Where the look at the store meets damage, the metric stays as it was, and `/sources` says why."""
    found = capacity(tmp_path, StoreDamaged("facts, key 1: the checksum is wrong"), 10)
    found.full_at_seconds = 1.0
    found.look_ahead()
    assert found.full_at_seconds == 1
    assert found.describe() == {"error": "facts, key 1: the checksum is wrong"}


def test_less_than_a_week_warns(tmp_path: Path) -> None:
    """With less than seven days left there is a warning with the date, as soon as that was found out, and no longer."""
    day_bytes = 400 * 86_400
    short, enough = (capacity(tmp_path, USAGE, day_bytes * days) for days in (6.9, 7))
    assert short.warning() == ""
    for each in (short, enough):
        each.look_ahead()
    assert short.warning() == "at the rate of the last day the store is full in 6.9 days: 2023-11-21T19:49:20.000Z"
    assert enough.warning() == ""


def test_no_forecast_gives_no_warning(tmp_path: Path) -> None:
    """A store that would never be full, and one that nobody can say it of, warn of no date."""
    nothing = replace(USAGE, events=0, archived=0, came=0)
    for found in (capacity(tmp_path, USAGE, math.inf), capacity(tmp_path, nothing, 10)):
        found.full_at_seconds = 1.0
        found.look_ahead()
        assert found.warning() == ""
