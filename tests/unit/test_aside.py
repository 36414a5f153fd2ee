"""Work that gives way: how soon others ask for the interpreter's lock."""

import sys
from types import SimpleNamespace

import pytest

from server.base import aside as module
from server.base.aside import GIVE_WAY_SECONDS, REST_SECONDS_MIN, Pace, giving_way
from server.base.worker import Worker


@pytest.fixture(autouse=True)
def usual_seconds() -> float:
    return sys.getswitchinterval()


def test_others_get_the_lock_sooner_meanwhile(usual_seconds: float) -> None:
    """Blocks may lie in one another or overlap, and may raise; after them it is as it was."""
    with giving_way():
        assert sys.getswitchinterval() == pytest.approx(GIVE_WAY_SECONDS)
        with pytest.raises(ZeroDivisionError), giving_way():
            _ = 1 / 0
        assert sys.getswitchinterval() == pytest.approx(GIVE_WAY_SECONDS)
    assert sys.getswitchinterval() == usual_seconds


async def test_only_workers_aside_give_way(usual_seconds: float) -> None:
    """Their jobs do, also where they fail; what deliveries wait for does not."""
    aside, other = Worker("aside", aside=True), Worker("other")
    assert await aside.run(sys.getswitchinterval) == pytest.approx(GIVE_WAY_SECONDS)
    with pytest.raises(ZeroDivisionError):
        await aside.run(lambda: 1 / 0)
    assert await other.run(sys.getswitchinterval) == usual_seconds


def test_short_steps_have_one_rest_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rests are so many times as long as the work before them, within bounds; and the work gives way."""
    now, slept = [0.0], list[float]()
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=slept.append, monotonic=lambda: now[0]))
    pace = Pace(4, rest_seconds_max=1)
    for seconds in (REST_SECONDS_MIN / 8, REST_SECONDS_MIN / 8, REST_SECONDS_MIN, 0, 10, 10, 0):
        with pace.step():
            assert sys.getswitchinterval() == pytest.approx(GIVE_WAY_SECONDS)
            now[0] += seconds
    assert slept == pytest.approx([REST_SECONDS_MIN, 4 * REST_SECONDS_MIN, 1 - 5 * REST_SECONDS_MIN, 0])
