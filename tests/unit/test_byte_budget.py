"""Memory that all sources share."""

import pytest

from server.base.byte_budget import ByteBudget


def test_one_source_leaves_room_for_others() -> None:
    """One source alone can hold half and one portion more; then others still get some."""
    budget = ByteBudget(100)
    assert budget.reserve("a", 40)
    assert budget.reserve("a", 20)
    assert not budget.reserve("a", 1)
    assert budget.reserve("b", 30)
    assert not budget.reserve("b", 1)
    assert budget.reserve("c", 10)
    assert not budget.reserve("d", 1)


def test_never_more_than_there_is() -> None:
    """A portion that does not fit is refused, whoever asks."""
    budget = ByteBudget(100)
    assert not budget.reserve("a", 101)
    assert budget.reserve("a", 100)
    assert budget.free_bytes == 0


def test_room_that_comes_back_is_heard_of() -> None:
    """Listeners hear of room within their block only."""
    budget = ByteBudget(100)
    heard: list[int] = []
    budget.reserve("a", 60)
    with budget.listening(lambda: heard.append(budget.free_bytes)):
        budget.release("a", 60)
    budget.reserve("a", 50)
    budget.release("a", 50)
    assert heard == [100]
    assert budget.held_by("a") == 0


def test_giving_back_more_than_was_taken_is_loud() -> None:
    """It would let memory grow without bound."""
    budget = ByteBudget(100)
    budget.reserve("a", 10)
    with pytest.raises(AssertionError):
        budget.release("a", 11)


def test_who_holds_nothing_is_forgotten() -> None:
    """Names that strangers choose do not add up."""
    budget = ByteBudget(100)
    for number in range(1000):
        assert budget.reserve(f"10.0.0.{number}", 30)
        budget.release(f"10.0.0.{number}", 30)
    assert (budget.held_bytes, budget._held) == (0, {})
