"""The history of an event that died: each death, and what was done about it, in the order in which it happened.

It is written anew, whole, when a dead event is given back or discarded. The death that an event is dead of is not in it
yet: that is in its row, and its error in its detail.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from storage.frozen import frozen

TURNS_MAX = 16
"""Kept of one event: the last ones. Each requeue makes two."""

TURN_ERROR_CHARACTERS_MAX = 200
"""Of the error of a death that is over. Thousands of histories are written in one transaction."""

DIED, REQUEUED, DISCARDED = "died", "requeued", "discarded"

FORGOTTEN = "forgotten"
"""The error of an event that died and was forgotten."""


@frozen
class Turn:
    """One entry of a history."""

    change: str
    """DIED, REQUEUED or DISCARDED."""
    at_ms: int
    """By the wall clock."""
    attempts: int = 0
    """Until it died."""
    error: str = ""
    """Of which it died."""


@frozen
class DeadEvent:
    """What is known of a dead event without its delivery."""

    number: int
    source_id: str
    attempts: int
    at_ms: int
    """When it died."""
    error: str
    history: Sequence[Turn]

    def then(self, change: str, at_ms: int) -> bytes:
        """Return its history, as stored, once this has been done about its death."""
        death = Turn(DIED, self.at_ms, self.attempts, self.error[:TURN_ERROR_CHARACTERS_MAX])
        return encode_history([*self.history, death, Turn(change, at_ms)])


def without_texts(turns: Sequence[Turn]) -> list[Turn]:
    """Return a history without the errors of deaths: of an event that was forgotten."""
    return [replace(turn, error=FORGOTTEN if turn.error else "") for turn in turns]


def encode_history(turns: Sequence[Turn]) -> bytes:
    """Return a history as stored, of which the last entries are kept."""
    return orjson.dumps([_stored(turn) for turn in turns[-TURNS_MAX:]])


def _stored(turn: Turn) -> list[object]:
    return [turn.change, turn.at_ms, turn.attempts, turn.error] if turn.change == DIED else [turn.change, turn.at_ms]


def decode_history(stored: Any) -> list[Turn]:
    """Return what `encode_history` wrote, parsed. Raises ValueError or TypeError if it was not written by that."""
    return [_turn(*entry) for entry in stored]


def _turn(change: Any, at_ms: Any, attempts: int = 0, error: str = "") -> Turn:
    if not isinstance(change, str) or not isinstance(at_ms, int):
        raise TypeError("a history does not say what happened when")
    return Turn(change, at_ms, attempts, error)
