"""A wake-up call for one task."""

import pytest
import trio
import trio.testing

from server.base.wakeup import Wakeup


async def test_notify_wakes_the_task_that_waits() -> None:
    """However often it is called before that task runs again, it wakes once."""
    wakeup, woken = Wakeup(), list[int]()

    async def wait() -> None:
        while True:
            await wakeup.wait()
            woken.append(len(woken))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for turn in range(3):
            await trio.testing.wait_all_tasks_blocked()
            assert len(woken) == turn
            wakeup.notify()
            wakeup.notify()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(woken) == 3


async def test_a_notification_is_kept_until_somebody_waits() -> None:
    """Once, and not at all when it was cleared."""
    wakeup = Wakeup()
    wakeup.notify()
    wakeup.notify()
    with trio.testing.assert_checkpoints():
        await wakeup.wait()
    assert not wakeup.is_notified
    wakeup.notify()
    wakeup.clear()
    assert not await returns_at_once(wakeup)


async def test_a_cancelled_wait_loses_no_notification() -> None:
    """Neither one that came before it nor one that comes after."""
    wakeup = Wakeup()
    wakeup.notify()
    with trio.CancelScope() as scope:
        scope.cancel()
        await wakeup.wait()
    assert await returns_at_once(wakeup)
    assert not await returns_at_once(wakeup)
    wakeup.notify()
    assert await returns_at_once(wakeup)


async def test_a_notification_before_the_task_runs_is_one() -> None:
    """What is notified between the call and the turn of the woken task is seen by it when it looks for work."""
    wakeup, work, done = Wakeup(), list[int](), list[list[int]]()

    async def take() -> None:
        while True:
            await wakeup.wait()
            done.append(work.copy())
            work.clear()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        for each in range(3):
            work.append(each)
            wakeup.notify()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert done == [[0, 1, 2]]


async def test_a_second_task_may_not_wait() -> None:
    """It would take away what the first one waits for."""
    wakeup = Wakeup()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wakeup.wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError):
            await wakeup.wait()
        wakeup.notify()


async def returns_at_once(wakeup: Wakeup) -> bool:
    """Whether `wait` comes back without being notified first."""
    returned = False

    async def wait() -> None:
        nonlocal returned
        await wakeup.wait()
        returned = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return returned
