"""Ids in hand, twins, retries."""

from server.flow.parked import Aside, AsideEvents


def event(number: int, digest: bytes = b"a", *, attempts: int = 0, holds: bool = False) -> Aside:
    return Aside(number, digest, 1000 + number, attempts, holds)


def test_one_event_holds_an_id_and_others_wait() -> None:
    """When the id is let go, those that waited are handed back and are aside no more."""
    aside = AsideEvents()
    assert aside.hold(event(1))
    assert not aside.hold(event(2))
    assert not aside.hold(event(3))
    assert len(aside) == 2
    assert aside.release([b"a"]) == [(b"a", [event(2), event(3)])]
    assert len(aside) == 0
    assert aside.hold(event(4))


def test_an_id_is_held_until_its_release() -> None:
    """Also while it has twins, of which the last one lets go of it."""
    aside = AsideEvents()
    assert not aside.holds_any
    aside.hold(event(1))
    aside.hold(event(2))
    assert aside.holds_any
    aside.release([b"a"])
    assert not aside.holds_any


def test_the_first_duplicate_follows_a_dead_event() -> None:
    """The others wait for that one."""
    aside = AsideEvents()
    aside.hold(event(1))
    aside.hold(event(2))
    aside.hold(event(3))
    [(_, twins)] = aside.release([b"a"])
    aside.succeed(twins)
    assert aside.next_due(0) == event(2, holds=True)
    assert aside.next_due(0) is None
    assert aside.release([b"a"]) == [(b"a", [event(3)])]


def test_a_retry_comes_when_it_is_due() -> None:
    """Not before, and in the order of the times."""
    aside = AsideEvents()
    late, early = event(1, b"a", holds=True), event(2, b"b", holds=True)
    aside.retry_at(20.0, late)
    aside.retry_at(10.0, early)
    assert aside.next_due(9.9) is None
    assert aside.next_time() == 10.0
    assert aside.next_due(25.0) == early
    assert aside.next_due(25.0) == late
    assert aside.next_time() is None


def test_the_oldest_is_known() -> None:
    """Whichever state it is in, and only while it is aside."""
    aside = AsideEvents()
    assert aside.oldest() is None
    aside.turn(event(5))
    aside.retry_at(1.0, event(3, b"b", holds=True))
    assert aside.oldest() == (3, 1003)
    aside.next_due(2.0)
    aside.next_due(2.0)
    assert aside.oldest() is None
