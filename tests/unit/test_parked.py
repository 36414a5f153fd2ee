"""Ids in hand, in-flight duplicates, retries."""

from server.flow.parked import ParkedEvent, ParkedEvents


def event(number: int, digest: bytes = b"a", *, attempts: int = 0, holds: bool = False) -> ParkedEvent:
    return ParkedEvent(number, digest, 1000 + number, attempts, holds)


def test_one_event_holds_an_id_and_others_wait() -> None:
    """When the id is let go, those that waited are handed back and are parked no more."""
    parked = ParkedEvents()
    assert parked.hold(event(1))
    assert not parked.hold(event(2))
    assert not parked.hold(event(3))
    assert len(parked) == 2
    assert parked.release([b"a"]) == [(b"a", [event(2), event(3)])]
    assert len(parked) == 0
    assert parked.hold(event(4))


def test_an_id_is_held_until_its_release() -> None:
    """Also while duplicates wait for it."""
    parked = ParkedEvents()
    assert not parked.holds_any
    parked.hold(event(1))
    parked.hold(event(2))
    assert parked.holds_any
    parked.release([b"a"])
    assert not parked.holds_any


def test_the_next_in_line_follows_a_dead_event() -> None:
    """The others wait for that one."""
    parked = ParkedEvents()
    parked.hold(event(1))
    parked.hold(event(2))
    parked.hold(event(3))
    [(_, duplicates)] = parked.release([b"a"])
    parked.promote(duplicates)
    assert parked.next_due(0) == event(2, holds=True)
    assert parked.next_due(0) is None
    assert parked.release([b"a"]) == [(b"a", [event(3)])]


def test_a_retry_comes_when_it_is_due() -> None:
    """Not before, and in the order of the times."""
    parked = ParkedEvents()
    late, early = event(1, b"a", holds=True), event(2, b"b", holds=True)
    parked.retry_at(20.0, late)
    parked.retry_at(10.0, early)
    assert parked.next_due(9.9) is None
    assert parked.next_time() == 10.0
    assert parked.next_due(25.0) == early
    assert parked.next_due(25.0) == late
    assert parked.next_time() is None


def test_the_oldest_is_known() -> None:
    """Whichever state it is in, and only while it is parked."""
    parked = ParkedEvents()
    assert parked.oldest() is None
    parked.make_ready(event(5))
    parked.retry_at(1.0, event(3, b"b", holds=True))
    assert parked.oldest() == (3, 1003)
    parked.next_due(2.0)
    parked.next_due(2.0)
    assert parked.oldest() is None
