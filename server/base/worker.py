"""Daemon threads of our own, for work that blocks: the writer's, the readers', each plain processor's.

Guarantees of a `Worker`: one job at a time, in the order of the calls; the same thread for every job (LMDB requires it
of a writer); if a caller is cancelled or times out, its job still runs to the end, and no other starts before that.
Executors and `trio.to_thread` are not used: both delay the exit of the process until a hanging call returns, and
`to_thread` changes threads.

A thread is taken when its worker is made, so that the server's own are all there when it says that it is ready: a limit
of threads (`TasksMax=`, `ulimit -u`, `pids.max`) that is met later takes none of them away. Those of processors, of
which there may be many, come with their first call.

A `SoleWorker` is the same for a single task that waits for each of its jobs, as the committer does: without a queue, a
call costs 36 µs of CPU less.
"""

import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import trio

from server.base import log
from server.base.aside import begin_giving_way, end_giving_way
from server.base.slices import take_long_slices

THREAD_RETRY_SECONDS = 1.0
"""Between two tries to have a thread: soon after a limit was raised, or others have ended theirs."""

T = TypeVar("T")


class NoThread(Exception):
    """The system gives no more threads now. The message says for what one was wanted."""


def start_thread(function: Callable[[], object], name: str) -> None:
    """Run the function in a new daemon thread. Raises NoThread."""
    try:
        threading.Thread(target=function, name=name, daemon=True).start()
    except RuntimeError as error:
        raise NoThread(f"no thread can be had for {name}: {error}") from error


class _Call:
    __slots__ = ("done", "error", "job", "value")

    def __init__(self, job: Callable[[], Any]) -> None:
        self.job = job
        self.done = trio.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self.job()
        except BaseException as error:  # noqa: BLE001  # SystemExit must not end the thread; the caller decides
            self.error = error


class Worker:
    """A named thread that runs plain functions for trio tasks. Made inside `trio.run`.

    Raises NoThread when it is made; with `at_once=False` it has no thread before `take_thread`, or the first `run`.
    `aside`: no sender waits for its jobs, so they give way.
    """

    def __init__(self, name: str, *, at_once: bool = True, aside: bool = False) -> None:
        self._name = name
        self._aside = aside
        self._calls: SimpleQueue[_Call] = SimpleQueue()
        self._free = trio.Semaphore(1)
        self._trio_token = trio.lowlevel.current_trio_token()
        self.has_thread = False
        self.lacks_thread = False
        """It waits for a thread that cannot be had."""
        if at_once:
            self._start()

    async def take_thread(self) -> None:
        """Return when it has its thread, however many tries that takes."""
        try:
            while not self.has_thread:
                await self._try_to_start()
        finally:
            self.lacks_thread = False

    @property
    def busy(self) -> bool:
        """Whether a job is running, perhaps one whose caller has left."""
        return self._free.value == 0

    async def idle(self) -> None:
        """Return when no job is running."""
        await self._free.acquire()
        self._free.release()

    async def run(self, function: Callable[..., T], *args: Any, timeout_seconds: float = math.inf) -> T:
        """Run `function(*args)` in the thread once it is free; return or raise what it does.

        The timeout counts from the start of the job. After it `trio.TooSlowError` is raised, the job goes on, and its
        late result is discarded. The same on cancellation.
        """
        self._start()
        try:
            self._free.acquire_nowait()
        except trio.WouldBlock:
            await self._free.acquire()
        call = _Call(partial(function, *args))
        if self._aside:
            begin_giving_way()
        self._calls.put(call)
        with trio.fail_after(timeout_seconds):
            await call.done.wait()
        if call.error is not None:
            raise call.error
        value: T = call.value
        return value

    async def _try_to_start(self) -> None:
        try:
            self._start()
        except NoThread as error:
            if not self.lacks_thread:
                log.get("tidegate").warning("waiting for a thread", error=str(error))
            self.lacks_thread = True
            await trio.sleep(THREAD_RETRY_SECONDS)

    def _start(self) -> None:
        if not self.has_thread:
            start_thread(self._serve, self._name)
            self.has_thread = True

    def _serve(self) -> None:
        if self._aside:
            take_long_slices()
        while True:
            call = self._calls.get()
            call.run()
            if self._aside:
                end_giving_way()
            try:
                self._trio_token.run_sync_soon(self._finish, call)
            except (trio.RunFinishedError, OSError):  # an error: what wakes the loop was closed, which ends the server
                return

    def _finish(self, call: _Call) -> None:
        self._free.release()
        call.done.set()


class SoleWorker:
    """A named thread that runs plain functions for one task, one at a time. Lives as long as the process.

    Raises NoThread when it is made.

    The thread wakes the task through a descriptor of its own, without the queue and the tasks of `run_sync_soon`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._job: Callable[[], Any] | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        self._job_ready = threading.Lock()
        self._job_ready.acquire()
        self.done_file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable when the job has ended."""
        start_thread(self._serve, name)

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job()`; return or raise what it does. If cancelled, the job goes on; no other may be submitted."""
        if self._job is not None:
            raise RuntimeError(f"the thread {self._name} has a job already")
        self._job = job
        self._job_ready.release()
        await trio.lowlevel.wait_readable(self.done_file)
        os.eventfd_read(self.done_file)
        value, error = self._value, self._error
        self._job = self._value = self._error = None
        if error is not None:
            raise error
        result: T = value
        return result

    def _serve(self) -> None:
        while self._job_ready.acquire():
            assert self._job is not None
            try:
                self._value = self._job()
            except BaseException as error:  # noqa: BLE001  # as in _Call
                self._error = error
            with suppress(OSError):  # it was closed, which ends the server
                os.eventfd_write(self.done_file, 1)
