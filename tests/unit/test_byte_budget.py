"""Memory that all sources share."""

import pytest

from server.base.byte_budget import SharedBytes


def test_one_source_leaves_room_for_others() -> None:
    """One source alone can hold half and one portion more; then others still get some."""
    shared = SharedBytes(100)
    assert shared.take("a", 40)
    assert shared.take("a", 20)
    assert not shared.take("a", 1)
    assert shared.take("b", 30)
    assert not shared.take("b", 1)
    assert shared.take("c", 10)
    assert not shared.take("d", 1)


def test_never_more_than_there_is() -> None:
    """A portion that does not fit is refused, whoever asks."""
    shared = SharedBytes(100)
    assert not shared.take("a", 101)
    assert shared.take("a", 100)
    assert shared.free_bytes == 0


def test_room_that_comes_back_is_heard_of() -> None:
    """Listeners hear of room within their block only."""
    shared = SharedBytes(100)
    heard: list[int] = []
    shared.take("a", 60)
    with shared.listening(lambda: heard.append(shared.free_bytes)):
        shared.give("a", 60)
    shared.take("a", 50)
    shared.give("a", 50)
    assert heard == [100]
    assert shared.held_by("a") == 0


def test_giving_back_more_than_was_taken_is_loud() -> None:
    """It would let memory grow without bound."""
    shared = SharedBytes(100)
    shared.take("a", 10)
    with pytest.raises(AssertionError):
        shared.give("a", 11)
