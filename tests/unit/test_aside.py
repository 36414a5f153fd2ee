"""Work that gives way: how soon others ask for the interpreter's lock."""

import sys
import threading

import pytest

from server.base.aside import GIVE_WAY_SECONDS, begin_giving_way, end_giving_way, give_way
from server.base.worker import Worker
from tests.support.waiting import NEVER_SECONDS


@pytest.fixture(autouse=True)
def usual_seconds() -> float:
    return sys.getswitchinterval()


def test_others_get_the_lock_sooner_meanwhile(usual_seconds: float) -> None:
    """Until each that was begun has ended, in whatever order."""
    for expected, change in (
        (GIVE_WAY_SECONDS, begin_giving_way),
        (GIVE_WAY_SECONDS, begin_giving_way),
        (GIVE_WAY_SECONDS, end_giving_way),
        (usual_seconds, end_giving_way),
    ):
        change()
        assert sys.getswitchinterval() == pytest.approx(expected)


async def test_only_workers_aside_give_way(usual_seconds: float) -> None:
    """Their jobs do, also where they fail; what deliveries wait for does not."""
    aside, other = Worker("aside", aside=True), Worker("other")
    assert await aside.run(sys.getswitchinterval) == pytest.approx(GIVE_WAY_SECONDS)
    with pytest.raises(ZeroDivisionError):
        await aside.run(lambda: 1 / 0)
    assert await other.run(sys.getswitchinterval) == usual_seconds


async def test_they_give_way_before_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who begins to wait for the lock while the thread is only about to have it asks for it as soon."""
    begun_in = list[threading.Thread]()
    monkeypatch.setattr("server.base.worker.begin_giving_way", lambda: begun_in.append(threading.current_thread()))
    monkeypatch.setattr("server.base.worker.end_giving_way", lambda: None)
    await Worker("aside", aside=True).run(lambda: None)
    assert begun_in == [threading.current_thread()]


def test_who_gives_way_lets_go_of_the_lock(usual_seconds: float) -> None:
    """A thread that waits for it has its turn, though it may not ask for it within the time that the test takes."""
    gate, turns = threading.Lock(), list[int]()
    gate.acquire()

    def wait_for_turn() -> None:
        with gate:
            turns.append(1)

    waiting = threading.Thread(target=wait_for_turn, daemon=True)
    waiting.start()
    sys.setswitchinterval(NEVER_SECONDS)
    try:
        gate.release()
        for _ in range(1_000_000):
            give_way()
            if turns:
                break
        assert turns
    finally:
        sys.setswitchinterval(usual_seconds)
        waiting.join()
