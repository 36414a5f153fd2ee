"""server/config/forecast.py: when a store is full, at a rate that stays as it is."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from server.base.source import Source
from server.config.forecast import (
    FOR_EVER,
    TYPICAL,
    EventBytes,
    Kept,
    configured_rate,
    event_bytes,
    forecast,
    kept,
    outlook,
)
from server.config.load import Config, load
from storage.read.usage import EMPTY, Usage

DAY = 86400
EACH = EventBytes(archive=300, receipt=100)
RATE = 10
KEPT = Kept(archive_seconds=7 * DAY, receipt_seconds=30 * DAY)
STEADY = RATE * DAY * (7 * 300 + 30 * 100)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "tidegate.toml"
    path.write_text("")
    return load(path, {})


def full_in_days(bytes_left: float, keeps: Kept = KEPT, usage: Usage = EMPTY, rate: float = RATE) -> float:
    return forecast(usage, EACH, rate, keeps, bytes_left).full_in_seconds / DAY


def test_without_retention_it_fills_at_its_rate() -> None:
    """What comes in a day, and the days until that has used up what is left."""
    found = forecast(EMPTY, EACH, RATE, FOR_EVER, RATE * DAY * 400 * 5)
    assert found.day_bytes == RATE * DAY * 400
    assert found.full_in_seconds == pytest.approx(5 * DAY)
    assert found.steady_bytes == math.inf


def test_what_retention_keeps_fits_or_not() -> None:
    """Where what is kept fits the store is never full; with a byte less it is full just before all of it is there."""
    assert forecast(EMPTY, EACH, RATE, KEPT, STEADY).steady_bytes == STEADY
    assert full_in_days(STEADY + 1) == math.inf
    assert full_in_days(STEADY - 1) == pytest.approx(30)


@pytest.mark.parametrize(
    ("days", "left"),
    [(5, 5 * 400), (7, 7 * 400), (8, 7 * 400 + 100), (29.5, 7 * 400 + 22.5 * 100)],
)
def test_it_fills_slower_once_bodies_leave(days: float, left: float) -> None:
    """While bodies and receipts come it grows by both; once as many bodies leave as come, by receipts alone."""
    assert full_in_days(left * RATE * DAY) == pytest.approx(days)


def test_what_is_there_is_a_part_of_it() -> None:
    """A store that holds the bodies of five days already has them for two days more only."""
    usage = replace(EMPTY, archive_bytes=5 * RATE * DAY * 300, receipt_bytes=5 * RATE * DAY * 100)
    assert full_in_days((2 * 400 + 100) * RATE * DAY, usage=usage) == pytest.approx(3)
    assert full_in_days((2 * 400 + 23 * 100) * RATE * DAY + 1, usage=usage) == math.inf


def test_bodies_that_are_bounded_by_bytes() -> None:
    """Bodies stop growing at their bound, whatever their hours say."""
    keeps = Kept(archive_bytes_max=RATE * DAY * 300, receipt_seconds=30 * DAY)
    assert full_in_days((300 + 10 * 100) * RATE * DAY, keeps) == pytest.approx(10)
    assert forecast(EMPTY, EACH, RATE, keeps, 0).steady_bytes == RATE * DAY * (300 + 30 * 100)


def test_a_store_without_room_is_full_now() -> None:
    """Where nothing is left it is full now; where nothing comes it never is."""
    assert full_in_days(-1) == full_in_days(0) == 0
    assert full_in_days(1, rate=0) == full_in_days(1, FOR_EVER, rate=0) == math.inf


def test_where_nothing_comes_what_stays_is_said() -> None:
    """Without retention a store that gets nothing holds in the end what it holds now; with it, nothing."""
    usage = replace(EMPTY, archive_bytes=3000, receipt_bytes=1000)
    assert forecast(usage, EACH, 0, FOR_EVER, 10).steady_bytes == 4000
    assert forecast(usage, EACH, 0, KEPT, 10).steady_bytes == 0
    assert forecast(usage, EACH, 0, Kept(archive_bytes_max=2000), 10).steady_bytes == 3000


def test_nothing_is_said_without_a_measurement(config: Config) -> None:
    """Without an event, or with too little time, there is no forecast; each rate has its own."""
    limited = replace(config, sources={"a": Source("a", "webhook", (b"",), rate_limit_events_per_second=5)})
    found = outlook(limited, EMPTY, 10**9, retention=True)
    assert (found.each, found.measured, found.configured) == (None, None, None)
    usage = Usage(archive_bytes=30_000, receipt_bytes=20_000, archived=100, events=200, came=0, measured_ms=0)
    found = outlook(limited, usage, 10**9, retention=True)
    assert found.each == EventBytes(300, 100)
    assert found.measured is None
    assert found.configured is not None
    assert found.configured.events_per_second == 5
    found = outlook(config, replace(usage, came=60, measured_ms=600_000), 10**9, retention=False)
    assert found.configured is None
    assert found.measured is not None
    assert found.measured.events_per_second == pytest.approx(0.1)
    assert found.measured.steady_bytes == math.inf


@pytest.mark.parametrize(
    ("archive_bytes", "archived", "events", "each"),
    [
        (8192, 3, 100_000, EventBytes(TYPICAL.archive, 60)),
        (0, 0, 100_000, EventBytes(TYPICAL.archive, 60)),
        (8192, 1, 1, TYPICAL),
        (10**8, 99, 99, EventBytes((10**8 - 2**16) / 99, TYPICAL.receipt)),
    ],
    ids=["most bodies have left", "all bodies have left", "the first event", "few and large"],
)
def test_few_events_say_nothing_of_size(archive_bytes: int, archived: int, events: int, each: EventBytes) -> None:
    """A few small events take whole pages: they count as typical, so that one event makes no store look full."""
    receipt_bytes = max(24_576, 60 * events)
    assert (
        event_bytes(
            replace(EMPTY, archive_bytes=archive_bytes, receipt_bytes=receipt_bytes, archived=archived, events=events)
        )
        == each
    )


def test_a_sum_needs_every_limit(config: Config) -> None:
    """The sources' rates add up if each keeps to one; else there is no configured rate."""
    a, b = (Source(name, "webhook", (b"",), rate_limit_events_per_second=2.5) for name in "ab")
    assert configured_rate(replace(config, sources={"a": a, "b": b})) == 5
    assert configured_rate(replace(config, sources={"a": a, "b": replace(b, over_limit="observe")})) is None
    assert configured_rate(config) is None


def test_zeros_of_the_configuration_are_for_ever(config: Config) -> None:
    """An hour of 0 keeps for ever, bytes of 0 are no bound."""
    assert kept(config) == KEPT
    without = replace(config.retention, archive_hours=0, receipt_hours=0)
    assert kept(replace(config, retention=without)) == FOR_EVER
