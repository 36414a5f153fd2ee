"""A thread of our own."""

import threading

import pytest
import trio
import trio.testing

from server.base import worker as workers
from server.base.slices import LONG_SLICE_SECONDS
from server.base.worker import NoThread, SoleWorker, Worker
from tests.support.slices import needs_slices, slice_seconds
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


@needs_slices
async def test_work_aside_takes_long_slices() -> None:
    """Of the processor, so that whoever deliveries wait for goes first."""
    assert await Worker("test", aside=True).run(slice_seconds) == LONG_SLICE_SECONDS
    for worker in (Worker("test"), SoleWorker("test")):
        assert await worker.run(slice_seconds) < LONG_SLICE_SECONDS


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


def refuse_thread(thread: threading.Thread) -> None:
    """What the system does at a limit of threads."""
    raise RuntimeError("can't start new thread")


@KINDS
async def test_a_worker_has_its_thread_once_made(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is met later takes nothing away; one that is met then is said with what the thread was for."""
    worker = kind("test")
    monkeypatch.setattr(threading.Thread, "start", refuse_thread)
    assert await worker.run(lambda: 1) == 1
    with pytest.raises(NoThread, match="for another: can't start new thread"):
        kind("another")


async def test_a_thread_that_is_refused_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker without a thread says so, tries until it has one, and works then; whoever waits may leave."""
    monkeypatch.setattr(workers, "THREAD_RETRY_SECONDS", 0.001)
    worker = Worker("test", at_once=False)
    with monkeypatch.context() as limit:
        limit.setattr(threading.Thread, "start", refuse_thread)
        with pytest.raises(NoThread):
            await worker.run(lambda: 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.take_thread)
            await until(lambda: worker.lacks_thread)
            nursery.cancel_scope.cancel()
        assert not worker.lacks_thread
    async with trio.open_nursery() as nursery:
        with monkeypatch.context() as limit:
            limit.setattr(threading.Thread, "start", refuse_thread)
            nursery.start_soon(worker.take_thread)
            await until(lambda: worker.lacks_thread)
    assert (worker.has_thread, worker.lacks_thread) == (True, False)
    assert await worker.run(lambda: 1) == 1
