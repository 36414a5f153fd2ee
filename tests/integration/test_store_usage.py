"""storage/read/usage.py: how many events came lately, and what the store holds."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from storage.model import Append, Group
from storage.read.reader import Reader
from storage.statuses import EventStatus
from tests.support.store import delivery, opened

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000

Came = Sequence[tuple[float, int]]
"""Deliveries: how many hours ago, and of how many events."""


def lately(path: Path, came: Came) -> tuple[int, float]:
    """How many events came in how many hours."""
    with opened(path) as (store, writer):
        for hours, count in came:
            first, at_ms = writer.next_number, round(NOW_MS - hours * HOUR_MS)
            ids = [f"id-{first + at}" for at in range(count)]
            writer.write(Group([Append(delivery(first, ids, received_at_ms=at_ms), count, EventStatus.DEFERRED)]))
        found = Reader(store).usage(NOW_MS)
        return found.came, found.measured_ms / HOUR_MS


@pytest.mark.parametrize(
    ("came", "found"),
    [
        ([], (0, 0)),
        ([(0.1, 5)], (5, 0)),
        ([(0.5, 5)], (5, 0.5)),
        ([(23, 3), (2, 5)], (8, 23)),
        ([(30, 100), (25, 100), (23, 3), (2, 5)], (8, 24)),
        ([(30, 100)], (0, 24)),
        ([(-5, 3)], (3, 0)),
    ],
    ids=["nothing", "too little time", "half an hour", "a young store", "the last day", "nothing lately", "the future"],
)
def test_what_came_in_the_last_day(tmp_path: Path, came: Came, found: tuple[int, float]) -> None:
    """The events of the last day count; of a younger store those since its first one, unless that is too short."""
    assert lately(tmp_path / "store", came) == found


def test_the_first_of_the_day_is_found(tmp_path: Path) -> None:
    """Among many records the first that is less than a day old is found exactly."""
    came = [(48 - 0.25 * at, 1 + at % 3) for at in range(192)]
    assert lately(tmp_path / "store", came) == (sum(count for hours, count in came if hours <= 24), 24)


def test_the_parts_are_all_of_it(tmp_path: Path) -> None:
    """What leaves with the bodies and what stays with the receipts is all that the store uses, but its fixed pages."""
    with opened(tmp_path / "store") as (store, writer):
        for first in range(1, 2000, 10):
            body = b"%d" % first * 500
            ids = [f"id-{first + at}" for at in range(10)]
            writer.write(Group([Append(delivery(first, ids, body=body), 10, EventStatus.DEFERRED)]))
        found = Reader(store).usage(NOW_MS)
        assert found.archive_bytes + found.receipt_bytes == store.used_bytes() - 3 * store.page_bytes
        assert found.events == found.archived == 2000
