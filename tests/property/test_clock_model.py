"""A server's flow and store against a model, while clocks jump and the host starts again: what is a duplicate."""

from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.config.load import load
from server.flow import engine, horizon
from server.flow.requeue import Done
from server.intake.intake import Admission
from server.runtime import chores
from server.runtime.app import Server
from storage import store_time
from storage.lmdb_store.environment import Store
from storage.model import StatusChange
from storage.read.dead import DeadQuery
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from storage.statuses import EventStatus
from storage.store_time import BOOT_ID_BYTES, MINUTE_MS, REBOOT_MS_MAX, HostTime, to_the_minute
from tests.support.config import source, whole
from tests.support.store import AT_MS, MAP_SIZE_BYTES, delivery
from tests.support.waiting import until

HOUR_MS = 3_600_000
WINDOW_HOURS = 48
WINDOW_MS = WINDOW_HOURS * HOUR_MS
IDS = "abc"
START = HostTime(wall_ms=AT_MS, boot_ms=0, boot_id=bytes(BOOT_ID_BYTES - 1) + b"\1")

MINUTES = st.integers(0, 100 * 60) | st.sampled_from([WINDOW_HOURS * 60 - 1, WINDOW_HOURS * 60, WINDOW_HOURS * 60 + 1])
JUMPS = st.integers(-200 * 60, 200 * 60) | st.sampled_from([0, 24 * 60, 24 * 60 + 1, -1])
Step = tuple[Any, ...]
STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(IDS)),
    st.tuples(st.just("go_on"), MINUTES, JUMPS),
    st.tuples(st.just("reboot"), JUMPS),
    st.tuples(st.just("kill")),
    st.tuples(st.just("remove")),
    st.tuples(st.just("put_back")),
)


@dataclass
class Model:
    """The store's time, and what becomes of each event, in the order of their numbers."""

    store_ms: int = START.wall_ms
    processed: dict[str, list[int]] = field(default_factory=dict)
    waiting: list[tuple[str, int, int]] = field(default_factory=list)
    statuses: list[EventStatus] = field(default_factory=list)
    removed: bool = False

    def send(self, event_id: str) -> None:
        self.waiting.append((event_id, to_the_minute(self.store_ms), len(self.statuses)))
        self.statuses.append(EventStatus.PENDING)
        self.settle()

    def settle(self) -> None:
        """Judge what waits, if the source is there."""
        if self.removed:
            return
        for event_id, received_ms, at in self.waiting:
            outcomes = self.processed.setdefault(event_id, [])
            known = any(received_ms < each + WINDOW_MS for each in outcomes)
            self.statuses[at] = EventStatus.DUPLICATE if known else EventStatus.PROCESSED
            if not known:
                outcomes.append(self.store_ms)
        self.waiting = []


class World:
    """The host, its store, and the server that runs there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = START
        self.model = Model()
        path = directory / "tidegate.toml"
        path.write_text(whole(source("demo") + f"[dedup]\nwindow_hours = {WINDOW_HOURS}\n"))
        self.config = load(path)

    @asynccontextmanager
    async def server(self) -> AsyncIterator[Server]:
        """A server without its listeners, which dies at the end."""
        store = Store.open(self.config.storage.path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
        try:
            server = Server(self.config, {}, store, lambda: 0)
            async with trio.open_nursery() as nursery:
                for task in (server.committer.run, server.acknowledger.run, server._work, server._rebuild_index):
                    nursery.start_soon(task)
                self.configure(server)
                await server.index_ready.wait()
                yield server
                nursery.cancel_scope.cancel()
            await server.engine._shared.reading.idle()  # a thread must not read from a store that is closed
        finally:
            store.close()

    async def run(self, steps: Sequence[Step]) -> None:
        left = deque(steps)
        while True:
            async with self.server() as server:
                end = await self.live(server, left)
                if end is None:
                    assert self.statuses(server.store) == self.model.statuses
                    return
            if end[0] == "reboot":
                self.reboot(end[1])

    async def live(self, server: Server, left: deque[Step]) -> Step | None:
        """Take steps until one ends the server; return that, or None after the last."""
        while left:
            step = left.popleft()
            if step[0] in ("kill", "reboot"):
                return step
            getattr(self, step[0])(server, *step[1:])
            await self.settle(server)
        return None

    def configure(self, server: Server) -> None:
        server.engine.configure({} if self.model.removed else self.config.sources, {})

    async def settle(self, server: Server) -> None:
        """Return when all that can be judged is, and the time is written."""
        await server.acknowledger.settled()
        if not self.model.removed:
            await until(lambda: not any(state.pending for state in server.engine.states))
        await server.committer.write_time()

    def statuses(self, store: Store) -> list[EventStatus]:
        found = [record for each in IDS for record in Reader(store).find("demo", each)]
        return [record.status for record in sorted(found, key=lambda record: record.number)]

    def send(self, server: Server, event_id: str) -> None:
        self.model.send(event_id)
        (state,) = server.engine.states
        server.acknowledger.append(state, Admission(delivery(1, [event_id]).deliveries, 1), lambda _: None)

    def go_on(self, _: Server, minutes: int, jump: int) -> None:
        """Time goes on, and the wall clock jumps beside that."""
        passed = minutes * MINUTE_MS
        self.model.store_ms += passed
        self.host = replace(
            self.host, boot_ms=self.host.boot_ms + passed, wall_ms=self.host.wall_ms + passed + jump * MINUTE_MS
        )

    def reboot(self, jump: int) -> None:
        """The host starts again, and its wall clock says that this took so long."""
        passed = jump * MINUTE_MS
        self.model.store_ms += passed if 0 <= passed <= REBOOT_MS_MAX else 0
        boot = int.from_bytes(self.host.boot_id, "big") + 1
        self.host = HostTime(self.host.wall_ms + passed, 0, boot.to_bytes(BOOT_ID_BYTES, "big"))

    def remove(self, server: Server) -> None:
        """The source leaves the configuration: what comes waits."""
        self.model.removed = True
        self.configure(server)

    def put_back(self, server: Server) -> None:
        self.model.removed = False
        self.model.settle()
        self.configure(server)


@contextmanager
def living() -> Iterator[World]:
    """A host with an empty store, on which nothing but steps of a test makes time pass."""
    with (
        TemporaryDirectory() as directory,
        patch.object(engine, "MERGE_POLL_SECONDS", 0.001),
        patch.object(horizon, "ON_ITS_WAY_MS", MINUTE_MS),
    ):
        world = World(Path(directory))
        with patch.object(store_time, "host_time", lambda _: world.host):
            yield world


def test_an_idle_server_writes_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing to do the store's time is written again and again, so that a reboot is measured from then on."""
    monkeypatch.setattr(chores, "TIME_WRITE_SECONDS", 0.001)

    async def run(world: World) -> None:
        async with world.server() as server, trio.open_nursery() as nursery:
            nursery.start_soon(chores.write_time, server.committer)
            for hours in (1, 2):
                world.go_on(server, 60, 0)
                await until(lambda: written(server.store) == START.wall_ms + hours * HOUR_MS)  # noqa: B023
            nursery.cancel_scope.cancel()

    def written(store: Store) -> int:
        with Snapshots(store).take() as snapshot:
            time = snapshot.store_time()
            return time.store_ms if time else 0

    with living() as world:
        trio.run(run, world)


@given(st.lists(STEPS, max_size=12))
@example([("send", "a"), ("go_on", 47 * 60, -600 * 60), ("kill",), ("send", "a"), ("go_on", 61, 0), ("send", "a")])
@example([("send", "a"), ("remove",), ("send", "a"), ("go_on", 300 * 60, 0), ("kill",), ("put_back",), ("send", "a")])
@example([("remove",), ("send", "a"), ("go_on", 90 * 60, 0), ("send", "a"), ("put_back",), ("send", "a")])
@example(
    [("send", "a"), ("remove",), ("send", "a"), ("go_on", 60 * 60, 0), ("send", "a"), ("send", "a"), ("put_back",)]
)
@example([("send", "a"), ("reboot", 25 * 60), ("send", "a"), ("go_on", WINDOW_HOURS * 60, 0), ("send", "a")])
@settings(max_examples=12, deadline=None)
def test_duplicates_are_those_of_the_model(steps: Sequence[Step]) -> None:
    """An event is a duplicate if it was received before the window after an outcome of its id ended, by a time that no
    jump of a wall clock touches, and that goes on over a reboot by at most a day; however long it waited."""
    with living() as world:
        trio.run(world.run, steps)


def test_a_requeued_event_knows_older_outcomes() -> None:
    """Where an event of its id was processed while it was dead, a requeued one is its duplicate, however long ago that
    was and whatever has left the index."""

    async def run(world: World) -> None:
        async with world.server() as server:
            (state,) = server.engine.states
            for step in (world.remove, partial(world.send, event_id="a"), partial(world.send, event_id="b")):
                step(server)
            await world.settle(server)
            server.committer.change_status(
                state, StatusChange("demo", EventStatus.DEAD, [1, 2], [1, 1], 5, 5), lambda: None
            )
            await server.committer.write_time()
            world.model = Model(world.model.store_ms)
            world.put_back(server)
            world.send(server, "a")
            await world.settle(server)
            world.go_on(server, 1000 * 60, 0)
            await world.settle(server)
        async with world.server() as server:
            assert len(server.index) == 0
            assert await server.engine.requeue("demo", DeadQuery()) == Done(2, ())
            await world.settle(server)
            assert world.statuses(server.store) == [
                EventStatus.DUPLICATE,
                EventStatus.PROCESSED,
                EventStatus.PROCESSED,
            ]

    with living() as world:
        trio.run(run, world)
