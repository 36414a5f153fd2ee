"""Commands to give dead events back: how they wait, end, and keep out of each other's way."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing

from server.base.refusal import Refusal
from server.flow.requeue import REQUEUE_WAIT_SECONDS, DeadCommands, Done
from server.flow.source_state import SourceState
from storage.errors import StoreError, StoreFailed, StoreFull
from storage.history import DeadEvent
from storage.model import StatusChange
from storage.read.dead import DeadFilter, DeadQuery
from storage.statuses import Totals


class Disk:
    """A committer and a reader of dead events; `write` puts on disk what was handed over."""

    def __init__(self, dead: Sequence[int]) -> None:
        self.dead = list(dead)
        self.handed_over: list[tuple[StatusChange, Callable[[], None]]] = []
        self.failure: StoreError | None = None
        self.lost = False
        self.store_clock = SimpleNamespace(now_ms=lambda: 2)
        self.removing: trio.Event | None = None
        """Retention has a step on its way."""

    async def removal_ended(self) -> None:
        if self.removing is not None:
            await self.removing.wait()

    def change_status(self, state: SourceState, change: StatusChange, on_disk: Callable[[], None]) -> None:
        assert set(change.numbers) <= set(self.dead), "given back twice"
        self.handed_over.append((change, on_disk))

    def flush(self) -> None:
        pass

    def write(self) -> None:
        handed_over, self.handed_over = self.handed_over, []
        for change, on_disk in handed_over:
            self.dead = [each for each in self.dead if each not in change.numbers]
            on_disk()

    def dead_numbers(self, source_id: str, after: int, limit: int, where: DeadFilter) -> list[int]:
        return [number for number in self.dead if number > after][:limit]

    def dead_events(self, numbers: Sequence[int]) -> list[DeadEvent]:
        return [DeadEvent(number, "demo", 12, 1, "boom", ()) for number in numbers if number in self.dead]

    def dead_of(self, source_id: str, event_ids: Sequence[str]) -> dict[str, list[int]]:
        return {each: [number for number in self.dead if each == f"id-{number}"] for each in event_ids}


class Here:
    """Looks things up at once."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*args)


class Source:
    """A source at work, with so much room in its consumer."""

    def __init__(self, room: int) -> None:
        self.state = SourceState("demo", Totals())
        self.consumer = SimpleNamespace(room=room)
        self.returned: list[int] = []

    def requeued(self, numbers: Sequence[int]) -> None:
        self.returned += numbers
        self.consumer.room -= len(numbers)


def commands(source: Source, disk: Disk) -> DeadCommands:
    parts: dict[str, Any] = {"committer": disk, "lookup": disk, "looking_up": Here()}
    return DeadCommands(source, now_ms=lambda: 1, **parts)  # type: ignore[arg-type]


async def refused(commands: DeadCommands) -> Refusal:
    refusal = await commands.requeue(DeadQuery())
    assert isinstance(refusal, Refusal)
    return refusal


async def test_a_command_gives_back_as_there_is_room(autojump_clock: trio.testing.MockClock) -> None:
    """Step by step, each on disk before the next, however long the whole takes while it goes on."""
    source, disk = Source(2), Disk(range(1, 41))
    command = commands(source, disk)
    async with trio.open_nursery() as nursery:

        async def progress() -> None:
            while disk.dead:
                await trio.sleep(REQUEUE_WAIT_SECONDS - 1)
                disk.write()
                source.consumer.room = 2

        nursery.start_soon(progress)
        assert await command.requeue(DeadQuery()) == Done(40, ())
    assert source.returned == list(range(1, 41))
    assert trio.current_time() > REQUEUE_WAIT_SECONDS * 10


async def test_a_command_waits_for_what_leaves(autojump_clock: trio.testing.MockClock) -> None:
    """Dead events are looked up once the step of retention that was on its way has ended: it may take some of them out.
    From then on until the command has ended none may leave."""
    source, disk = Source(2), Disk([1, 2])
    disk.removing = removing = trio.Event()
    async with trio.open_nursery() as nursery:

        async def leave() -> None:
            await trio.sleep(1)
            assert source.state.requeues_begun == 1
            disk.dead.remove(1)
            removing.set()
            await trio.sleep(1)
            assert source.state.requeues_begun == source.state.returning == 1
            disk.write()

        nursery.start_soon(leave)
        assert await commands(source, disk).requeue(DeadQuery()) == Done(1, ())
    assert source.returned == [2]
    assert source.state.requeues_begun == source.state.returning == 0


async def test_a_command_without_room_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    """It waited for ever, with its connection; what was given back is told and stays so."""
    source, disk = Source(2), Disk([1, 2, 3])
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            await trio.sleep(1)
            disk.write()

        nursery.start_soon(write)
        refusal = await refused(commands(source, disk))
    assert (refusal.status, refusal.code) == (503, "overloaded")
    assert "so far: 2;" in refusal.message
    assert (source.returned, disk.dead) == ([1, 2], [3])
    assert trio.current_time() < REQUEUE_WAIT_SECONDS + 2


async def test_a_command_behind_another_is_refused_too(autojump_clock: trio.testing.MockClock) -> None:
    """Commands that pile up behind one without room end as it does."""
    command = commands(Source(0), Disk([1]))
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(refused, command)
    assert trio.current_time() < REQUEUE_WAIT_SECONDS + 1


async def test_a_store_that_is_lost_ends_a_command(autojump_clock: trio.testing.MockClock) -> None:
    """What was handed over to a committer that writes no more was waited for until the process ended."""
    source, disk = Source(9), Disk([1])
    async with trio.open_nursery() as nursery:

        async def lose() -> None:
            await trio.sleep(1)
            disk.failure, disk.lost = StoreFailed("EIO"), True

        nursery.start_soon(lose)
        refusal = await refused(commands(source, disk))
    assert (refusal.status, refusal.code) == (503, "storage_failed")
    assert trio.current_time() < 2


async def test_nothing_on_its_way_is_returned_twice(autojump_clock: trio.testing.MockClock) -> None:
    """A command that was given up leaves a step on its way to a full disk; the next waits until it is there."""
    source, disk = Source(9), Disk([1, 2])
    command = commands(source, disk)
    disk.failure = StoreFull("full")
    assert (await refused(command)).code == "storage_full"
    assert (await refused(command)).code == "storage_full"
    assert len(disk.handed_over) == 1
    disk.failure = None
    disk.write()
    assert source.returned == [1, 2]
    assert await command.requeue(DeadQuery(["id-1"])) == Done(0, ["id-1"])
