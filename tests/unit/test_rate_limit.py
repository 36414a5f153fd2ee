"""The rate limit: exact bursts, exact refills, at any rate."""

import pytest

from server.base.source import Source
from server.flow.source_state import SourceState
from server.intake.rate_limit import Gcra
from storage.statuses import Totals

SECOND = 1_000_000_000
NOW = 5_000 * SECOND


def test_rate_0_admits_everything() -> None:
    """Rate 0 admits everything at once and for ever."""
    limiter = Gcra(0, 0)
    assert limiter.admit(10**9, NOW) == 10**9
    assert limiter.wait_ns(10**9, NOW) == 0


@pytest.mark.parametrize(
    ("rate", "burst", "expected"), [(10, 0, 10), (2.5, 0, 2), (0.1, 0, 1), (0.1, 7, 7), (10, 3, 3)]
)
def test_fresh_limiter_admits_exactly_its_burst(rate: float, burst: int, expected: int) -> None:
    """The burst goes at once; 0 stands for one second's worth, at least one event."""
    assert Gcra(rate, burst).admit(1000, NOW) == expected
    limiter = Gcra(rate, burst)
    assert sum(limiter.admit(1, NOW) for _ in range(expected + 5)) == expected


def test_first_items_that_fit() -> None:
    """Of a batch that does not fit, what fits is admitted and charged, no more."""
    limiter = Gcra(10, 10)
    assert limiter.admit(4, NOW) == 4
    assert limiter.admit(100, NOW) == 6
    assert limiter.admit(1, NOW) == 0


def test_tokens_return_to_the_nanosecond() -> None:
    """At 3/s a token is there after a third of a second, not a nanosecond before, and nothing drifts."""
    limiter = Gcra(3, 1)
    assert limiter.admit(1, NOW) == 1
    assert limiter.wait_ns(1, NOW) == 333_333_334
    assert limiter.admit(1, NOW + 333_333_333) == 0
    assert limiter.admit(1, NOW + 333_333_334) == 1
    limiter = Gcra(3, 3)
    admitted = sum(limiter.admit(3, NOW + tick * SECOND // 3) for tick in range(3_000 + 1))
    assert admitted == 3 + 3_000


@pytest.mark.parametrize("rate", [1e-9, 0.1, 1e9, 3e9, 1e15, 1e22])
def test_very_low_and_very_high_rates(rate: float) -> None:
    """An event always costs something, and the wait for it is what the rate says."""
    limiter = Gcra(rate, 1)
    assert limiter.admit(2, NOW) == 1
    wait = limiter.wait_ns(1, NOW)
    assert wait == max(1, round(SECOND / rate))
    assert limiter.admit(1, NOW + wait - 1) == 0
    assert limiter.admit(1, NOW + wait) == 1


def test_wait_is_for_a_full_burst_at_most() -> None:
    """More tokens than the bucket holds never come; the wait ends when it is full."""
    limiter = Gcra(10, 5)
    assert limiter.wait_ns(5, NOW) == 0
    limiter.admit(5, NOW)
    assert limiter.wait_ns(1, NOW) == SECOND // 10
    assert limiter.wait_ns(5, NOW) == limiter.wait_ns(50, NOW) == SECOND // 2


def test_reload_gives_no_tokens_away() -> None:
    """After a reconfiguration an empty bucket is as good as empty, and never emptier than empty."""
    limiter = Gcra(10, 10)
    limiter.admit(10, NOW)
    limiter.reconfigure(20, 20)
    assert limiter.admit(20, NOW) == 0
    assert limiter.admit(20, NOW + SECOND) == 20
    slow = Gcra(0.01, 100)
    slow.admit(100, NOW)
    slow.reconfigure(100, 100)
    assert slow.wait_ns(100, NOW) == SECOND
    assert slow.admit(100, NOW + SECOND) == 100


def test_reload_to_and_from_no_limit() -> None:
    """Switching the limit off frees, switching it on gives one burst."""
    limiter = Gcra(1, 1)
    limiter.admit(1, NOW)
    limiter.reconfigure(0, 0)
    assert limiter.admit(50, NOW) == 50
    limiter.reconfigure(5, 0)
    assert limiter.admit(50, NOW + SECOND) == 5


@pytest.mark.parametrize("between", [(1, 1), (1000, 1), (0, 0), (1, 50), (3, 2000)])
def test_reload_there_and_back_refills_nothing(between: tuple[float, int]) -> None:
    """Another limit for a while, used or not, and then the old one again: an empty bucket has what its time gives."""
    for used in (0, 5):
        limiter = Gcra(1, 1000)
        limiter.admit(1000, NOW)
        limiter.reconfigure(*between)
        limiter.admit(used, NOW + 2 * SECOND)
        limiter.reconfigure(1, 1000)
        assert limiter.admit(1000, NOW + 3 * SECOND) <= 3


def test_reload_of_the_same_limit_changes_nothing() -> None:
    """Reloads without another limit give no token and take none, however many there are."""
    limiter, alone = Gcra(1, 1000), Gcra(1, 1000)
    for each in (limiter, alone):
        each.admit(1000, NOW)
        each.reconfigure(10, 10)
    for second in range(1, 20):
        limiter.reconfigure(10, 10)
        assert limiter.admit(20, NOW + second * SECOND) == alone.admit(20, NOW + second * SECOND) == 10


def test_idle_time_counts_at_the_new_rate() -> None:
    """Time that passed before the first take after a reload has filled the bucket."""
    limiter = Gcra(0.01, 100)
    limiter.admit(100, NOW)
    limiter.reconfigure(100, 100)
    assert limiter.admit(100, NOW + SECOND // 2) == 50


def test_clock_that_steps_back() -> None:
    """A clock that goes back admits nothing and charges nothing; it never admits a negative number."""
    limiter = Gcra(10, 10)
    limiter.admit(10, NOW)
    assert limiter.admit(5, NOW - 3_000 * SECOND) == 0
    assert limiter.admit(10, NOW + SECOND) == 10


@pytest.mark.parametrize(("rate", "burst"), [(-1, 0), (1, -1), (float("nan"), 0), (float("inf"), 0)])
def test_impossible_limits_are_refused_early(rate: float, burst: int) -> None:
    """A limit that makes no sense is refused when it is made."""
    with pytest.raises(ValueError, match=r"."):
        Gcra(rate, burst)


def test_a_release_is_paid_for_once() -> None:
    """What was released and not finished when the log is read anew needs no second token; the others need theirs."""
    state = SourceState("demo", Totals(received=6, deferred=6, pending=6, deferred_now=6))
    state.configure(Source("demo", "webhook", (), rate_limit_events_per_second=1e-6, rate_limit_burst_events=3))
    assert state.release(6, 0) == 3
    for _ in range(2):
        state.forget_releases()
        assert state.unreleased == 6
        assert [state.release(2, 0), state.release(4, 0)] == [2, 1]
    assert state.release(3, 0) == 0
