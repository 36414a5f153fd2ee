"""The pace of work that no sender waits for: when its steps begin."""

import threading

import pytest
import trio
import trio.testing

from server.base.pace import Pace
from server.base.worker import Worker
from tests.support.waiting import HANG_SECONDS


class Clocked:
    """Steps of given lengths by trio's mocked clock, and when each began; deliveries wait as long as they are told."""

    def __init__(self, clock: trio.testing.MockClock, **how: float) -> None:
        self._clock = clock
        self._start = trio.current_time()
        self.waits_seconds = 0.0
        self.begun: list[float] = []
        self.pace = Pace(Worker("steps"), self._idle, **how)

    async def _idle(self) -> None:
        await trio.sleep(self.waits_seconds)

    async def step(self, seconds: float) -> None:
        await self.pace.step(self._work, seconds)

    def _work(self, seconds: float) -> None:
        self.begun.append(self._clock.current_time() - self._start)
        self._clock.jump(seconds)


async def test_a_step_waits_for_idle_deliveries(autojump_clock: trio.testing.MockClock) -> None:
    """It begins when none of them waits, or when it has waited long enough for that."""
    steps = Clocked(autojump_clock, idle_seconds_max=3)
    for steps.waits_seconds in (0, 2, 100):
        await steps.step(0)
    assert steps.begun == pytest.approx([0, 2, 5])


async def test_steps_rest_as_they_worked(autojump_clock: trio.testing.MockClock) -> None:
    """A rest is so many times as long as the step before it, within bounds, whoever asks for the next one."""
    steps = Clocked(autojump_clock, idle_seconds_max=3, rests=4, rest_seconds_max=10)
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(steps.step, 2)
    await steps.step(5)
    await steps.step(0)
    assert steps.begun == pytest.approx([0, 10, 20, 35])


async def test_callers_take_turns_by_steps(autojump_clock: trio.testing.MockClock) -> None:
    """Of two who ask for step after step neither waits for more than one of the other's."""
    pace, order = Pace(Worker("steps"), trio.lowlevel.checkpoint, idle_seconds_max=3, rests=1), list[str]()

    async def go_on(name: str) -> None:
        for _ in range(3):
            await pace.step(order.append, name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on, "a")
        nursery.start_soon(go_on, "b")
    assert order in (["a", "b"] * 3, ["b", "a"] * 3)


async def test_a_failed_step_rests_too(autojump_clock: trio.testing.MockClock) -> None:
    """Its error is raised, and the next one begins as if it had been done."""
    steps = Clocked(autojump_clock, idle_seconds_max=3, rests=1, rest_seconds_max=10)

    def fail() -> None:
        autojump_clock.jump(5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await steps.pace.step(fail)
    await steps.step(0)
    assert steps.begun == pytest.approx([10])


async def test_a_step_left_alone_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """Where its caller has left, the next one rests for as long as it really took."""
    steps = Clocked(autojump_clock, idle_seconds_max=3, rests=1, rest_seconds_max=10)
    may_end = threading.Event()

    def work() -> None:
        assert may_end.wait(HANG_SECONDS)
        autojump_clock.jump(4)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as leaving:
            nursery.start_soon(_leave, leaving)
            await steps.pace.step(work)
        nursery.start_soon(steps.step, 0)
        await trio.testing.wait_all_tasks_blocked()
        may_end.set()
    assert steps.begun == pytest.approx([8])


async def _leave(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()
