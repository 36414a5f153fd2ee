"""Commands about dead events: they go back to the processor, or are discarded, step by step; those of one source.

Guarantees
- One command for a source at a time, and none begins before every step of the ones before it is on disk: so an event
  that is found dead stays dead until its step. Other sources are not waited for.
- While one is under way no dead event leaves by retention (`retention.py`): what is found dead has its body.
- A command ends. Without progress for a while, or when nothing will be written any more, it is refused; what was done
  until then stays so, and a step that is on its way goes on by itself.
- What is given back goes as the consumer has room.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from server.base.refusal import Refusal, refuse
from server.base.worker import Worker
from server.flow.committer import Committer
from server.flow.runner import Runner
from storage.errors import StoreFull
from storage.history import DISCARDED, REQUEUED
from storage.model import StatusChange
from storage.read.dead import DeadFilter, DeadQuery
from storage.read.reader import Reader
from storage.statuses import EventStatus

REQUEUE_EVENTS_MAX = 10000
"""Dead events given back or discarded in one transaction: it rewrites the blocks that hold them."""

REQUEUE_POLL_SECONDS = 0.1
"""How often a requeue looks whether the consumer has room for more, and whether anything can be written still."""

REQUEUE_WAIT_SECONDS = 30
"""The longest that a command waits without progress: its client has gone, or would rather know."""

BECOMES = {REQUEUED: EventStatus.PENDING, DISCARDED: EventStatus.DISCARDED}
"""What dead events become, by what is done about them."""

SAID = {REQUEUED: "given back", DISCARDED: "discarded"}


@dataclass(frozen=True, slots=True)
class Done:
    """How many events were given back, or discarded, and the ids of which none is dead."""

    count: int
    unknown: Sequence[str]


@dataclass(slots=True)
class _Command:
    patience: trio.CancelScope
    change: str
    count: int = 0

    def progress(self) -> None:
        self.patience.deadline = trio.current_time() + REQUEUE_WAIT_SECONDS


class DeadCommands:
    """Of one source. Made inside `trio.run`."""

    def __init__(
        self, runner: Runner, *, committer: Committer, now_ms: Callable[[], int], lookup: Reader, looking_up: Worker
    ) -> None:
        self._runner = runner
        self._committer = committer
        self._now_ms = now_ms
        self._lookup = lookup
        self._looking_up = looking_up
        self._lock = trio.Lock()

    async def requeue(self, wanted: DeadQuery) -> Done | Refusal:
        """Give these back to the processor."""
        return await self._do(REQUEUED, wanted)

    async def discard(self, wanted: DeadQuery) -> Done | Refusal:
        """Let these be dead for good: not listed any more, their receipts kept."""
        return await self._do(DISCARDED, wanted)

    @asynccontextmanager
    async def standing_still(self) -> AsyncIterator[None]:
        """Let no dead event of the source be given back or discarded, and none leave, meanwhile."""
        async with self._lock, self._dead_kept():
            while self._runner.state.returning and not self._committer.lost:
                self._committer.flush()
                await self._committer.group_ended()
            yield

    async def _do(self, change: str, wanted: DeadQuery) -> Done | Refusal:
        with trio.CancelScope() as patience:
            command = _Command(patience, change)
            command.progress()
            async with self._lock, self._dead_kept():
                await self._until(command, lambda: not self._runner.state.returning)
                unknown = await self._find_and_do(command, wanted)
                return Done(command.count, unknown)
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

    async def _find_and_do(self, command: _Command, wanted: DeadQuery) -> Sequence[str]:
        """Return the ids of which no event is dead."""
        if wanted.event_ids is not None:
            return await self._of(command, wanted.event_ids)
        after, left = 0, wanted.limit
        while numbers := await self._next(after, wanted.where, left):
            command.progress()
            await self._do_all(command, numbers)
            after = numbers[-1]
            left = None if left is None else left - len(numbers)
        return ()

    async def _next(self, after: int, where: DeadFilter, left: int | None) -> Sequence[int]:
        count = REQUEUE_EVENTS_MAX if left is None else min(left, REQUEUE_EVENTS_MAX)
        if not count:
            return ()
        found = await self._looking_up.run(self._lookup.dead_numbers, self._runner.state.id, after, count, where)
        return found if left is None else found[:left]

    async def _of(self, command: _Command, event_ids: Sequence[str]) -> Sequence[str]:
        dead = await self._looking_up.run(self._lookup.dead_of, self._runner.state.id, event_ids)
        command.progress()
        await self._do_all(command, sorted(number for numbers in dead.values() for number in numbers))
        return [event_id for event_id, numbers in dead.items() if not numbers]

    async def _do_all(self, command: _Command, numbers: Sequence[int]) -> None:
        while numbers:
            await self._until(command, lambda: self._room(command) > 0)
            room = self._room(command)
            await self._step(command, numbers[:room])
            numbers = numbers[room:]

    def _room(self, command: _Command) -> int:
        consumer = self._runner.consumer
        if consumer is None or command.change != REQUEUED:
            return REQUEUE_EVENTS_MAX
        return min(REQUEUE_EVENTS_MAX, consumer.room)

    async def _step(self, command: _Command, numbers: Sequence[int]) -> None:
        state = self._runner.state
        now_ms, store_ms = self._now_ms(), self._committer.store_clock.now_ms()
        change = await self._looking_up.run(
            partial(acted_upon, self._lookup, state.id, numbers, command.change, now_ms=now_ms, store_ms=store_ms)
        )
        on_disk = trio.Event()

        def done() -> None:
            state.returning -= 1
            self._runner.requeued(numbers if command.change == REQUEUED else ())
            command.count += len(numbers)
            command.progress()
            on_disk.set()

        state.returning += 1
        self._committer.change_status(state, change, done)
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
        so_far = f"events {SAID[command.change]} so far: {command.count}"
        if failure is None:
            return refuse("overloaded", f"{so_far}; there is no room for more now, send the command again")
        code = "storage_full" if isinstance(failure, StoreFull) else "storage_failed"
        return refuse(code, f"{so_far}; the store cannot be written now")


def acted_upon(
    reader: Reader, source_id: str, numbers: Sequence[int], change: str, *, now_ms: int, store_ms: int
) -> StatusChange:
    """Return what is to be written so that these dead events of a source are given back or discarded; it reads."""
    dead = reader.dead_events(numbers)
    if [each.number for each in dead] != list(numbers):
        raise AssertionError(f"of the events {numbers[0]} to {numbers[-1]}, one is not dead")
    histories: Mapping[int, bytes] = {each.number: each.then(change, now_ms) for each in dead}
    attempts = [0] * len(numbers)
    return StatusChange(source_id, BECOMES[change], numbers, attempts, now_ms, store_ms, histories=histories)


def found_dead(reader: Reader, source_id: str, wanted: DeadQuery, unknown: list[str]) -> Iterator[int]:
    """Yield the numbers of dead events that a command is about, ascending; add ids without one to `unknown`."""
    if wanted.event_ids is not None:
        dead = reader.dead_of(source_id, wanted.event_ids)
        unknown += [event_id for event_id, numbers in dead.items() if not numbers]
        yield from sorted(number for numbers in dead.values() for number in numbers)
        return
    after, left = 0, wanted.limit
    while left != 0 and (numbers := reader.dead_numbers(source_id, after, REQUEUE_EVENTS_MAX, wanted.where)[:left]):
        after, left = numbers[-1], None if left is None else left - len(numbers)
        yield from numbers
