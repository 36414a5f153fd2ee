"""The states of a fast connection, as a table."""

from server.http.fast.socket import STATES, State, seconds_by_state
from tests.support.http_server import SomeLimits


def test_every_state_is_reached_and_left() -> None:
    """From the first state a connection may come to each, and from each but the last it may be closed at once."""
    reached = {State.HEAD}
    while following := {each for state in reached for each in STATES[state].following} - reached:
        reached |= following
    assert reached == set(State)
    assert {state for state in State if State.CLOSED in STATES[state].following} == set(State) - {State.CLOSED}


def test_each_state_has_its_limit() -> None:
    """Whoever waits for the client waits as long as the limits say; for a commit there is no limit."""
    limits = SomeLimits(header_timeout_seconds=1, body_timeout_seconds=2, keep_alive_timeout_seconds=3)
    seconds = dict(zip(State, seconds_by_state(limits), strict=True))
    assert [seconds[each] for each in (State.HEAD, State.BODY, State.FLUSH, State.IDLE)] == [1, 2, 2, 3]
    assert seconds[State.ANSWER] == seconds[State.CLOSED] == float("inf")
    assert 0 < seconds[State.LINGER] < 60
