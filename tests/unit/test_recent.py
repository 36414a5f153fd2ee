"""What came into the store last, as it is kept for those who follow."""

from types import SimpleNamespace
from typing import Any

import pytest

from storage.model import Group
from storage.read.recent import RECENT_BODY_BYTES_MAX, RECENT_EVENTS_MAX, Recent
from tests.support.store import numbered

SOMETHING: Any = SimpleNamespace()


def firsts(recent: Recent, number: int) -> list[int]:
    """The first number of each delivery that is kept since that one."""
    return [each.first for each in recent.since(number)]


def test_recent_deliveries_are_kept_for_followers() -> None:
    """They are kept from when somebody follows until nobody does any more."""
    recent = Recent()
    recent.take_over(Group([numbered(1, 1)]))
    with recent.following():
        with recent.following():
            recent.take_over(Group([numbered(2, 1), numbered(3, 2)]))
            recent.take_over(Group([numbered(5, 1)]))
        assert recent.followers == 1
        assert [firsts(recent, number) for number in (1, 2, 3, 4, 5, 6)] == [[], [2, 3, 5], [3, 5], [3, 5], [5], []]
    assert (recent.followers, firsts(recent, 5)) == (0, [])


@pytest.mark.parametrize(("events", "size"), [(1, 2), (7, 2), (1, RECENT_BODY_BYTES_MAX // 10)])
def test_recent_deliveries_are_bounded(events: int, size: int) -> None:
    """As many are kept as events and bytes allow, the newest ones; nothing once one is too large by itself."""
    recent = Recent()
    room = min(RECENT_EVENTS_MAX // events, RECENT_BODY_BYTES_MAX // size)
    with recent.following():
        for at in range(room + 3):
            recent.take_over(Group([numbered(1 + at * events, events, body=b"x" * size)]))
        end = 1 + (room + 3) * events
        assert len(recent.since(end - room * events)) == room
        assert not recent.since(end - room * events - 1)
        recent.take_over(Group([numbered(end, 1, body=b"x" * (RECENT_BODY_BYTES_MAX + 1))]))
        assert not recent.since(end)
        recent.take_over(Group([numbered(end + 1, RECENT_EVENTS_MAX + 1)]))
        recent.take_over(Group([numbered(end + RECENT_EVENTS_MAX + 2, 1)]))
        assert firsts(recent, end + RECENT_EVENTS_MAX + 2) == [end + RECENT_EVENTS_MAX + 2]


@pytest.mark.parametrize("step", ["removal", "erasure"])
def test_what_left_is_not_kept(step: str) -> None:
    """Where something has left the store, or was forgotten, nothing that came before is kept."""
    recent = Recent()
    with recent.following():
        recent.take_over(Group([numbered(1, 1)]))
        recent.take_over(Group([numbered(2, 1)], **{step: SOMETHING}))
        assert (firsts(recent, 1), firsts(recent, 2)) == ([], [2])
