"""kill -9 in the middle of a load, again and again on one store: nothing acknowledged is missing, nothing is doubled.

Everything is drawn from a seed, the moment of each kill too: it is a number of answers, not a time. What still varies
is how far the server's own threads have come by then, and that is what the rounds are for.
`TIDEGATE_KILL_ROUNDS=200` does more of them.
"""

import os
from random import Random

import pytest

from tests.support.ledger import NO_BOOKS, check_identity, pending, read_books
from tests.support.load import SECTIONS, SOURCES, Acknowledged, Load, check_books, check_calls
from tests.support.server import Children
from tests.support.waiting import eventually

ROUNDS = int(os.environ.get("TIDEGATE_KILL_ROUNDS", "10"))
ANSWERS_MAX = 80


@pytest.fixture
def rounds() -> int:
    return ROUNDS


def test_kills_at_any_moment_lose_nothing(children: Children, rounds: int) -> None:
    """A server that is killed at any moment has lost nothing and doubled nothing when it is started again."""
    child = children(SECTIONS)
    acknowledged: list[Acknowledged] = []
    books = NO_BOOKS
    called = 0
    for seed in range(rounds):
        child.start()
        known = [event_id for each in acknowledged[-50:] for event_id in each.ids]
        load = Load(child, seed, Random(seed).randint(1, ANSWERS_MAX), child.kill_now, known)
        load.run()
        child.kill()
        if seed % 2:  # what only the journal has comes into the store by a start, else by whoever reads
            child.start()
            child.kill()
        assert not load.refused
        acknowledged += load.acknowledged
        processed_before, books = set(books.processed()), read_books(child, unanswered=load.unanswered, known=books)
        check_books(books, acknowledged)
        called = check_calls(child, called, processed_before, books)
    child.start()
    eventually(lambda: all(pending(child, name) == 0 for name in SOURCES))
    check_identity(child)
    books = read_books(child, known=books.unread())
    check_books(books, acknowledged)
    check_calls(child, called, set(), books)
    assert set(books.processed()) >= {(each.source, event_id) for each in acknowledged for event_id in each.ids}
    assert child.stop() == 0
    assert not child.errors
    assert child.cli("verify").returncode == 0
