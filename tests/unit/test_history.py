"""The history of an event that died: what is kept of it, and what is read back."""

import json

import pytest

from storage.history import (
    DIED,
    DISCARDED,
    REQUEUED,
    TURN_ERROR_CHARACTERS_MAX,
    TURNS_MAX,
    DeadEvent,
    Turn,
    decode_history,
)


def test_a_history_grows_with_each_death() -> None:
    """A requeue adds the death that it is about, and itself; a discard likewise."""
    first = DeadEvent(7, "demo", 12, 1000, "ValueError: no", ())
    turns = decode_history(json.loads(first.then(REQUEUED, 2000)))
    assert turns == [Turn(DIED, 1000, 12, "ValueError: no"), Turn(REQUEUED, 2000)]
    second = DeadEvent(7, "demo", 3, 3000, "KeyError: x", turns)
    assert decode_history(json.loads(second.then(DISCARDED, 4000))) == [
        *turns,
        Turn(DIED, 3000, 3, "KeyError: x"),
        Turn(DISCARDED, 4000),
    ]


def test_a_history_is_bounded() -> None:
    """Of an event that is given back again and again the last turns stay, and of each error so many characters."""
    turns = [Turn(REQUEUED, at) for at in range(TURNS_MAX)]
    found = decode_history(json.loads(DeadEvent(7, "demo", 1, 99, "x" * 1000, turns).then(REQUEUED, 100)))
    assert len(found) == TURNS_MAX
    assert found[:-2] == turns[2:]
    assert found[-2].error == "x" * TURN_ERROR_CHARACTERS_MAX


@pytest.mark.parametrize("stored", [7, [[1, 2]], [["died"]], [["died", "yesterday"]]])
def test_what_is_no_history_is_none(stored: object) -> None:
    """What was not written as one is refused."""
    with pytest.raises((TypeError, ValueError)):
        decode_history(stored)
