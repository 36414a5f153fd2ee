"""Work that gives way: how soon others ask for the interpreter's lock."""

import sys

import pytest

from server.base.aside import GIVE_WAY_SECONDS, giving_way
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
