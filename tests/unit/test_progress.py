"""Whether sources get on: what is overloaded and what is stuck, by a clock that is told."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from server.base.source import Source
from server.base.worker import Worker
from server.flow.source_state import SourceState
from server.observe.progress import OVERLOADED_NS, SourceProgress
from storage.errors import StoreDamaged
from storage.statuses import Totals

SECOND = 10**9
NAME = "demo"
START_MS = 1_700_000_000_000


class Place:
    """A queue whose oldest pending event is this one; a time of 0: it waits on disk."""

    behind = True
    cursor = 0

    def __init__(self, number: int, received_at_ms: int) -> None:
        self.found = (number, received_at_ms)

    def oldest(self) -> tuple[int, int]:
        return self.found

    def offer(self, *_: object) -> None:
        raise AssertionError("nothing is offered here")


class World:
    """One source, whose oldest event in the store came at the start, and a clock that goes on when it is told to."""

    def __init__(self, backlog_events_max: int = 0, **keys: Any) -> None:
        self.passed_ns = 0
        self.damaged = False
        self.state = SourceState(NAME, Totals())
        self.state.configure(Source(NAME, "webhook", (b"digest",), **{"processor": "a:b", **keys}))
        fake: Any = self
        engine: Any = SimpleNamespace(states=[self.state], state={NAME: self.state}.get)
        self.progress = SourceProgress(engine, fake, Worker("test"), fake, backlog_events_max=backlog_events_max)

    def monotonic_ns(self) -> int:
        return 10**15 + self.passed_ns

    def now_ms(self) -> int:
        return START_MS + self.passed_ns // 10**6

    def received_at(self, source_id: str, number: int) -> int:
        if self.damaged:
            raise StoreDamaged("it is damaged")
        assert (source_id, number) == (NAME, 7)
        return START_MS

    def passes(self, seconds: float) -> None:
        self.passed_ns += int(seconds * SECOND)

    def total(self, **counts: int) -> None:
        self.state.totals = replace(self.state.totals, **counts)

    async def fails(self, after_seconds: float) -> None:
        self.passes(after_seconds)
        self.state.counts.processor_failures += 1
        await self.progress.look()

    @property
    def warnings(self) -> list[str]:
        return [name for name, _ in self.progress.warnings()]

    @property
    def message(self) -> str:
        [(_, message)] = self.progress.warnings()
        return message


async def test_a_full_backlog_is_overloaded() -> None:
    """At the limit of its backlog a source is overloaded, and not one event below; 0 is no limit."""
    world, unlimited = World(backlog_events_max=5, paused=True), World(paused=True)
    for each in (world, unlimited):
        each.total(pending=4)
        assert each.warnings == []
        each.total(pending=5)
    assert world.warnings == ["overloaded"]
    assert "queue.backlog_events_max is 5" in world.message
    assert world.progress.is_overloaded(world.state)
    assert unlimited.warnings == []


async def test_a_refusal_is_overloaded_awhile() -> None:
    """A refusal for want of room is remembered for OVERLOADED_NS; one of a source that does not exist for none."""
    world = World()
    world.progress.refused("nobody")
    assert world.warnings == []
    world.progress.refused(NAME)
    world.passed_ns += OVERLOADED_NS - 1
    assert world.warnings == ["overloaded"]
    world.passed_ns += 1
    assert world.warnings == []
    assert not world.progress.is_overloaded(world.state)


@pytest.mark.parametrize("at_ms", [START_MS, 0])
async def test_an_old_event_is_stuck(at_ms: int) -> None:
    """A source is stuck once its oldest event has waited for longer than its setting, in memory or on disk."""
    world = World(stuck_after_seconds=30)
    world.total(pending=1, oldest=7)
    world.state.queue = Place(7, at_ms)
    await world.progress.look()
    world.passes(30)
    assert world.warnings == []
    world.passes(0.5)
    assert world.warnings == ["stuck"]
    assert "stuck_after_seconds is 30" in world.message
    world.total(pending=0)
    world.state.queue = None
    assert world.progress.is_stuck(world.state) is False


async def test_a_rate_limit_is_named() -> None:
    """Where deferred events may be what waits, the warning says how many the rate limit holds."""
    world = World(stuck_after_seconds=30)
    world.total(pending=3, oldest=7)
    world.state.unreleased = 2
    world.state.queue = Place(7, START_MS)
    world.passes(31)
    assert "its rate limit holds 2" in world.message


async def test_only_failures_are_stuck() -> None:
    """A processor that fails, and fails again after longer than the setting, without a success between, is stuck."""
    world = World(stuck_after_seconds=30)
    await world.fails(after_seconds=1)
    await world.fails(after_seconds=30)
    assert world.warnings == []
    await world.fails(after_seconds=1)
    assert world.warnings == ["stuck"]
    assert "failed for 31 s without a success" in world.message
    world.total(processed=1)
    await world.progress.look()
    assert world.warnings == []


@pytest.mark.parametrize("kind", ["success", "other processor", "a single failure", "never asked", "paused"])
async def test_other_failures_are_not_stuck(kind: str) -> None:
    """A success or another processor between failures, one failure long ago, a paused source: none is stuck."""
    world = World(stuck_after_seconds=0 if kind == "never asked" else 30, paused=kind == "paused")
    await world.fails(after_seconds=1)
    if kind == "success":
        await world.fails(after_seconds=15)
        world.total(processed=1)
    if kind == "other processor":
        assert world.state.source is not None
        world.state.configure(replace(world.state.source, processor="c:d"))
        await world.progress.look()
    world.passes(31)
    if kind != "a single failure":
        await world.fails(after_seconds=1)
    assert world.warnings == []
    assert not world.progress.is_stuck(world.state)


async def test_a_removed_source_is_not_judged() -> None:
    """A source that was taken out of the configuration is neither overloaded nor stuck, nor not."""
    world = World(backlog_events_max=1, stuck_after_seconds=1)
    world.total(pending=1, oldest=7)
    world.passes(60)
    world.state.configure(None)
    await world.progress.look()
    assert world.warnings == []
    assert world.progress.is_overloaded(world.state) is None
    assert world.progress.is_stuck(world.state) is None


async def test_a_damaged_store_ends_no_look() -> None:
    """Where the store cannot be read, what was known stays."""
    world = World(stuck_after_seconds=30)
    world.total(pending=1, oldest=7)
    await world.progress.look()
    world.damaged = True
    world.passes(31)
    await world.progress.look()
    assert world.warnings == ["stuck"]
