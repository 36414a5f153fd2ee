"""A thread of our own."""

import threading

import pytest
import trio
import trio.testing

from server.base.worker import SoleWorker, Worker
from tests.support.waiting import HANG_SECONDS, until

Kind = type[Worker] | type[SoleWorker]
KINDS = pytest.mark.parametrize("kind", [Worker, SoleWorker])


async def leave_at_once(worker: Worker | SoleWorker, gate: threading.Event) -> None:
    """A job that waits for the gate, and whose caller is cancelled once it runs."""
    runs = threading.Event()

    def job() -> None:
        runs.set()
        gate.wait(HANG_SECONDS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run, job)
        await until(runs.is_set)
        nursery.cancel_scope.cancel()


@KINDS
async def test_every_job_runs_on_the_same_thread(kind: Kind) -> None:
    """LMDB demands it of a writer."""
    worker = kind("test")
    assert len({await worker.run(threading.get_ident) for _ in range(5)}) == 1


@KINDS
async def test_what_a_job_raises_reaches_its_caller(kind: Kind) -> None:
    """SystemExit too, and the thread lives on."""
    worker = kind("test")

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await worker.run(leave)
    assert await worker.run(lambda: 1) == 1


async def test_no_job_starts_beside_one_that_hangs() -> None:
    """A caller whose time is up leaves; the next job waits for the hanging one, whose late result is discarded."""
    worker = Worker("test")
    gate = threading.Event()
    with pytest.raises(trio.TooSlowError):
        await worker.run(lambda: gate.wait(HANG_SECONDS), timeout_seconds=0.01)
    assert worker.busy
    results: list[str] = []

    async def second() -> None:
        results.append(await worker.run(lambda: "second"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        assert results == []
        gate.set()
    assert results == ["second"]
    await worker.idle()
    assert not worker.busy


async def test_a_cancelled_caller_does_not_free_the_thread() -> None:
    """The job goes on; only its end makes room."""
    worker = Worker("test")
    gate = threading.Event()
    await leave_at_once(worker, gate)
    assert worker.busy
    gate.set()
    await worker.idle()
    assert not worker.busy


async def test_a_sole_worker_takes_one_job_only() -> None:
    """LMDB's transaction of the job before may still be open."""
    worker = SoleWorker("test")
    gate = threading.Event()
    await leave_at_once(worker, gate)
    with pytest.raises(RuntimeError):
        await worker.run(lambda: True)
    gate.set()
