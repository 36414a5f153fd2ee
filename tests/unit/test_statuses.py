"""storage/statuses.py: the table of statuses, and the totals that follow from it."""

from dataclasses import replace

import pytest

from storage.statuses import (
    CANNOT_FOLLOW,
    COUNTERS,
    ENDED,
    EXPIRED_OF,
    EXPORTED,
    GAUGES,
    MOVES,
    NEW,
    NEW_MOVES,
    OUTCOMES,
    PENDING_STATUSES,
    REOPENED,
    REPLAY_MOVES,
    RULES,
    EventStatus,
    Moves,
    Totals,
    held,
    outcome_of,
)


def moved(moves: Moves) -> Totals:
    """Totals of which these moves are all that ever happened."""
    return Totals(**{COUNTERS[place]: step for place, step in moves})


def test_every_status_has_its_row() -> None:
    """The table has a row a status, in the order of their numbers, by which the tables made from it are indexed."""
    assert list(RULES) == list(EventStatus)
    assert [int(status) for status in EventStatus] == list(range(len(EventStatus)))


def test_every_status_can_be_reached() -> None:
    """Each status is one that an event begins with, or follows another one."""
    for status, rule in RULES.items():
        assert [before for before in rule.follows if before is not status]


def test_outcomes_end_an_event() -> None:
    """After an outcome comes nothing but what is a part of it, or, if its rule has a counter for that, a pending
    status; and after a part of an outcome nothing at all."""
    for status in ENDED:
        after = [each for each, rule in RULES.items() if status in rule.follows and rule.part_of is not status]
        assert all(each in PENDING_STATUSES for each in after)
        assert bool(after) == bool(RULES[status].reopened)
        assert RULES[status].part_of is None or not after
        assert outcome_of(status) in OUTCOMES


def test_every_pending_status_can_end() -> None:
    """An event of any pending status may get any outcome."""
    assert all(set(PENDING_STATUSES) <= {*RULES[outcome].follows} for outcome in OUTCOMES)


def test_every_outcome_has_its_own_counter() -> None:
    """An outcome is counted under its label, and no counter counts two outcomes."""
    assert [RULES[outcome].counted for outcome in OUTCOMES] == [outcome.label for outcome in OUTCOMES]


def test_every_counter_is_in_the_table() -> None:
    """Totals count what the table names, what was received and what has left, and nothing else."""
    left = {"expired", *EXPIRED_OF.values()}
    named = {*NEW, *GAUGES, *REOPENED, *left, *(rule.counted for rule in RULES.values() if rule.counted)}
    assert {*COUNTERS} == named
    of_outcomes = {RULES[outcome].counted for outcome in OUTCOMES} | {*EXPIRED_OF.values()}
    assert {*EXPORTED} == named - {*GAUGES} - of_outcomes


@pytest.mark.parametrize("after", EventStatus)
def test_every_change_keeps_the_accounting_identity(after: EventStatus) -> None:
    """Whatever may follow what, the totals are balanced after it; a new event is received."""
    assert moved(NEW_MOVES[after]).balanced
    assert bool(NEW_MOVES[after]) == (None in RULES[after].follows) == (moved(NEW_MOVES[after]).received == 1)
    received = moved(NEW_MOVES[after]).received
    assert moved(REPLAY_MOVES[after]) == replace(moved(NEW_MOVES[after]), received=0, replayed=received)
    for before in EventStatus:
        assert moved(MOVES[after][before]).balanced


@pytest.mark.parametrize("after", EventStatus)
def test_gauges_follow_every_change(after: EventStatus) -> None:
    """A gauge counts the events that have its statuses, whatever they had before."""
    now = {name: held(name, [int(status is after) for status in EventStatus]) for name in GAUGES}
    for before in EventStatus:
        if before not in CANNOT_FOLLOW[after]:
            had = {name: held(name, [int(status is before) for status in EventStatus]) for name in GAUGES}
            found = moved(MOVES[after][before])
            assert {name: getattr(found, name) + had[name] for name in GAUGES} == now


@pytest.mark.parametrize("name", ["received", "replayed", "requeued", "processed", "dead", "pending"])
def test_one_more_of_a_counter_unbalances_totals(name: str) -> None:
    """The identity takes in every counter that has a side in it."""
    totals = Totals(received=9, requeued=1, processed=4, dead=2, pending=4)
    assert totals.balanced
    assert not replace(totals, **{name: getattr(totals, name) + 1}).balanced
