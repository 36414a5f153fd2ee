"""Dead events on their way back to the processor: those of one source, step by step, as its consumer has room.

Guarantees
- One command for a source at a time, and none begins before every step of the ones before it is on disk: so an event
  that is found dead stays dead until it is given back. Other sources are not waited for.
- While one is under way no dead event leaves by retention (`retention.py`): what is found dead has its body.
- A command ends. Without progress for a while, or when nothing will be written any more, it is refused; what was given
  back until then stays so, and a step that is on its way goes on by itself.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from server.base.refusal import Refusal, refuse
from server.base.worker import Worker
from server.flow.committer import Committer
from server.flow.runner import Runner
from storage.errors import StoreFull
from storage.model import StatusChange
from storage.read.reader import Reader
from storage.statuses import EventStatus

REQUEUE_EVENTS_MAX = 10000
"""Dead events given back in one transaction: it rewrites the blocks that hold them."""

REQUEUE_POLL_SECONDS = 0.1
"""How often a requeue looks whether the consumer has room for more, and whether anything can be written still."""

REQUEUE_WAIT_SECONDS = 30
"""The longest that a command waits without progress: its client has gone, or would rather know."""


@dataclass(frozen=True, slots=True)
class Requeued:
    """How many events were given back, and the ids of which none is dead."""

    requeued: int
    unknown: Sequence[str]


@dataclass(slots=True)
class _Command:
    patience: trio.CancelScope
    requeued: int = 0

    def progress(self) -> None:
        self.patience.deadline = trio.current_time() + REQUEUE_WAIT_SECONDS


class Requeueing:
    """The way back of one source's dead events. Made inside `trio.run`."""

    def __init__(
        self, runner: Runner, *, committer: Committer, now_ms: Callable[[], int], lookup: Reader, looking_up: Worker
    ) -> None:
        self._runner = runner
        self._committer = committer
        self._now_ms = now_ms
        self._lookup = lookup
        self._looking_up = looking_up
        self._lock = trio.Lock()

    async def requeue(self, event_ids: Sequence[str] | None) -> Requeued | Refusal:
        """Give back those with these ids, or all if `event_ids` is None."""
        with trio.CancelScope() as patience:
            command = _Command(patience)
            command.progress()
            async with self._lock, self._dead_kept():
                await self._until(command, lambda: not self._runner.state.returning)
                unknown = await (self._all(command) if event_ids is None else self._of(command, event_ids))
                return Requeued(command.requeued, unknown)
        return self._refusal(command)

    @asynccontextmanager
    async def _dead_kept(self) -> AsyncIterator[None]:
        """Let no dead event leave meanwhile."""
        state = self._runner.state
        state.requeues_begun += 1
        try:
            await self._committer.removal_ended()
            yield
        finally:
            state.requeues_begun -= 1

    async def _all(self, command: _Command) -> Sequence[str]:
        after = 0
        source_id = self._runner.state.id
        while numbers := await self._looking_up.run(self._lookup.dead_numbers, source_id, after, REQUEUE_EVENTS_MAX):
            await self._give_all_back(command, numbers)
            after = numbers[-1]
        return ()

    async def _of(self, command: _Command, event_ids: Sequence[str]) -> Sequence[str]:
        dead = await self._looking_up.run(self._lookup.dead_of, self._runner.state.id, event_ids)
        command.progress()
        await self._give_all_back(command, sorted(number for numbers in dead.values() for number in numbers))
        return [event_id for event_id, numbers in dead.items() if not numbers]

    async def _give_all_back(self, command: _Command, numbers: Sequence[int]) -> None:
        while numbers:
            await self._until(command, lambda: self._room > 0)
            room = self._room
            await self._give_back(command, numbers[:room])
            numbers = numbers[room:]

    @property
    def _room(self) -> int:
        consumer = self._runner.consumer
        return REQUEUE_EVENTS_MAX if consumer is None else min(REQUEUE_EVENTS_MAX, consumer.room)

    async def _give_back(self, command: _Command, numbers: Sequence[int]) -> None:
        state = self._runner.state
        change = StatusChange(state.id, EventStatus.PENDING, numbers, [0] * len(numbers), self._now_ms(), 0)
        on_disk = trio.Event()

        def give_back() -> None:
            state.returning -= 1
            self._runner.requeued(numbers)
            command.requeued += len(numbers)
            command.progress()
            on_disk.set()

        state.returning += 1
        self._committer.change_status(state, change, give_back)
        self._committer.flush()
        await self._until(command, on_disk.is_set, on_disk)

    async def _until(self, command: _Command, ready: Callable[[], bool], change: trio.Event | None = None) -> None:
        """Return when it is true; `change` wakes up at once, nothing but the clock does otherwise."""
        change = change if change is not None else trio.Event()
        while not ready():
            if self._committer.lost:
                command.patience.cancel()
            with trio.move_on_after(REQUEUE_POLL_SECONDS):
                await change.wait()

    def _refusal(self, command: _Command) -> Refusal:
        failure = self._committer.failure
        so_far = f"events given back so far: {command.requeued}"
        if failure is None:
            return refuse("overloaded", f"{so_far}; there is no room for more now, send the command again")
        code = "storage_full" if isinstance(failure, StoreFull) else "storage_failed"
        return refuse(code, f"{so_far}; the store cannot be written now")
