"""Ids in hand, in-flight duplicates, retries."""

from server.flow.parked import NUMBERS_SPARE, ParkedEvent, ParkedEvents


def event(number: int, digest: bytes = b"a", *, attempts: int = 0, body: bytes = b"") -> ParkedEvent:
    return ParkedEvent(number, digest, 1000 + number, attempts, body_digest=body)


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
    parked.promote(b"a", duplicates)
    assert (parked.next_due(0), parked.together, parked.oldest()) == (None, 1, (2, 0))
    assert parked.next_together(9) == [2]
    assert parked.hold(event(2))
    assert parked.release([b"a"]) == [(b"a", [event(3)])]


def test_a_retry_comes_when_it_is_due() -> None:
    """Not before, and in the order of the times."""
    parked = ParkedEvents()
    late, early = event(1, b"a"), event(2, b"b")
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
    parked.retry_at(1.0, event(3, b"b"))
    assert parked.oldest() == (3, 1003)
    parked.next_due(2.0)
    parked.next_due(2.0)
    assert parked.oldest() is None


def test_who_met_an_outage_comes_in_turn() -> None:
    """The first that was set aside is tried again first; a success takes out the last, and makes the rest ready."""
    parked = ParkedEvents()
    first, second, third = (event(number, bytes([number])) for number in (1, 2, 3))
    assert (parked.in_outage, parked.next_aside(), parked.outage_over()) == (False, None, None)
    for each in (first, second, third):
        parked.set_aside(each)
    assert parked.next_aside() == first
    parked.set_aside(first)
    assert (parked.next_due(0), parked.in_outage, len(parked)) == (None, True, 3)
    assert parked.outage_over() == first
    assert [parked.next_due(0), parked.next_due(0), parked.next_due(0)] == [second, third, None]
    assert (parked.in_outage, len(parked)) == (False, 0)


def test_long_outages_leave_no_numbers_behind() -> None:
    """An event that is set aside again and again takes no more memory than one."""
    parked = ParkedEvents()
    parked.set_aside(event(5))
    for _ in range(1000):
        again = parked.next_aside()
        assert again is not None
        parked.set_aside(again)
    assert len(parked._numbers) <= 2 + NUMBERS_SPARE
    assert parked.oldest() == (5, 1005)


def test_what_has_failed_goes_alone() -> None:
    """Next in line or not: only events without an attempt go in batches, by their numbers."""
    parked = ParkedEvents()
    parked.hold(event(1))
    parked.hold(event(2, attempts=1))
    [(_, duplicates)] = parked.release([b"a"])
    parked.promote(b"a", duplicates)
    parked.add_together([7, 5])
    parked.add_together([6])
    assert parked.next_due(0) == event(2, attempts=1)
    assert [parked.next_together(2), parked.next_together(2), parked.next_together(2)] == [[5, 6], [7], []]


def test_a_retry_that_was_interrupted_goes_on() -> None:
    """It is due when it was, and at once if nobody knows when that is; the waits that are left are told, of those too
    that were not read anew yet."""
    parked = ParkedEvents()
    parked.due = {1: 20.0, 3: 25.0}
    parked.retry_anew(event(1, b"a", attempts=1))
    parked.retry_anew(event(2, b"b", attempts=1))
    assert parked.waits(15.0) == {1: 5.0, 2: 0, 3: 10.0}
    assert parked.next_due(15.0) == event(2, b"b", attempts=1)
    assert parked.next_due(15.0) is None


def test_a_body_is_held_after_the_id() -> None:
    """An event of another id and the same body waits with its own id in hand; the next in line holds what it has."""
    parked = ParkedEvents()
    assert parked.hold(event(1, b"a", body=b"x"))
    assert not parked.hold(event(2, b"b", body=b"x"))
    assert not parked.hold(event(3, b"b", body=b"y")), "its id is in hand"
    [(waited_for, duplicates)] = parked.release(event(1, b"a", body=b"x").digests)
    assert (waited_for, duplicates) == (b"x", [event(2, b"b", body=b"x")])
    parked.promote(waited_for, duplicates)
    assert parked.hold(event(2, b"b", body=b"x"))
    assert parked.held_digests() == {b"b", b"x"}


def test_the_next_in_line_may_wait_again() -> None:
    """Who got the id of a dead event waits for its body, if another has that; none waits for one that waits for it."""
    parked = ParkedEvents()
    assert parked.hold(event(1, b"a", body=b"x"))
    assert not parked.hold(event(2, b"a", body=b"y"))
    assert parked.hold(event(3, b"c", body=b"y"))
    [(_, duplicates)] = parked.release([b"a", b"x"])
    parked.promote(b"a", duplicates)
    assert not parked.hold(event(2, b"a", body=b"y"))
    assert parked.release([b"c", b"y"]) == [(b"y", [event(2, b"a", body=b"y")])]


def test_all_that_waits_may_be_tried_now() -> None:
    """Retries in the order of their times, those that are read anew later at once, and what is set aside counts too."""
    parked = ParkedEvents()
    parked.due = {4: 500.0}
    late, early, aside = (event(number, digest) for number, digest in ((1, b"a"), (2, b"b"), (3, b"c")))
    parked.retry_at(20.0, late)
    parked.retry_at(10.0, early)
    parked.set_aside(aside)
    assert parked.retry_now() == 4
    assert (parked.next_due(0.0), parked.next_due(0.0), parked.next_due(0.0)) == (early, late, None)
    parked.retry_anew(event(4, b"d"))
    assert parked.next_due(0.0) == event(4, b"d")
    assert parked.next_aside() == aside
    assert parked.retry_now() == 0
