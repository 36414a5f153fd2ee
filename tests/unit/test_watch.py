"""Whether sources are heard from: silence, and refusals that look like a changed secret, by a clock that is told."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from server.base.source import Source
from server.flow.source_state import SourceState
from server.observe.watch import BURST_REFUSALS, Watch
from storage.statuses import Totals

SECOND = 10**9
HOUR = 3600 * SECOND
NAME = "demo"


class World:
    """One source with one token, and a clock that goes on when it is told to."""

    def __init__(self, expect_every_seconds: float = 0) -> None:
        self.now_ns = 1000 * HOUR
        self.state = SourceState(NAME, Totals(received=7))
        self.source = Source(NAME, "webhook", (b"digest",), expect_every_seconds=expect_every_seconds)
        self.state.configure(self.source)
        engine: Any = SimpleNamespace(states=[self.state], state={NAME: self.state}.get)
        clock: Any = SimpleNamespace(monotonic_ns=lambda: self.now_ns, now_ms=lambda: self.now_ns // 10**6)
        self.watch = Watch(engine, clock)

    def configure(self, **keys: Any) -> None:
        self.source = replace(self.source, **keys)
        self.state.configure(self.source)

    def accept(self) -> None:
        self.state.totals = replace(self.state.totals, received=self.state.totals.received + 1)
        self.watch.look()

    def refuse(self, times: int = BURST_REFUSALS, over_seconds: float = 0) -> None:
        for _ in range(times):
            self.now_ns += int(over_seconds / times * SECOND)
            self.watch.unauthorized(NAME)

    @property
    def warnings(self) -> list[str]:
        return [name for name, _ in self.watch.warnings()]


def test_a_burst_after_acceptance_warns() -> None:
    """Ten refusals within five minutes and an hour of the last accepted request warn until the next one."""
    world = World()
    world.accept()
    world.now_ns += HOUR - 10 * SECOND
    world.refuse(BURST_REFUSALS - 1)
    assert world.warnings == []
    world.refuse(1)
    assert world.warnings == ["secret_changed"]
    world.now_ns += 100 * HOUR
    world.refuse(1)
    assert world.warnings == ["secret_changed"]
    world.accept()
    assert world.warnings == []


@pytest.mark.parametrize("kind", ["never accepted", "long ago", "too slow", "accepted between", "unknown"])
def test_other_refusals_do_not_warn(kind: str) -> None:
    """Without an accepted request before it, long after one, over a longer time, or with one between, none is said."""
    world = World()
    if kind != "never accepted":
        world.accept()
    if kind == "long ago":
        world.now_ns += HOUR + SECOND
    world.refuse(BURST_REFUSALS - 1, over_seconds=400 if kind == "too slow" else 0)
    if kind == "accepted between":
        world.accept()
    if kind == "unknown":
        world.watch.unauthorized("nobody")
        world.watch.unauthorized("")
    else:
        world.refuse(1)
    assert world.warnings == []


def test_an_accepted_request_is_noticed_late() -> None:
    """One that was accepted after the last look, and before a refusal, counts before that."""
    world = World()
    world.state.totals = replace(world.state.totals, received=8)
    world.refuse()
    assert world.warnings == ["secret_changed"]


def test_new_secrets_end_the_suspicion() -> None:
    """A reload that changes the source's secrets begins anew; one that changes anything else does not."""
    world = World()
    world.accept()
    world.refuse()
    world.configure(paused=True)
    assert world.warnings == ["secret_changed"]
    world.configure(token_digests=(b"digest", b"another"))
    assert world.warnings == []


def test_silence_counts_from_the_start() -> None:
    """A source is silent once nothing was accepted for longer than is expected, from the start or the last one on."""
    world = World(expect_every_seconds=60)
    world.now_ns += 60 * SECOND
    assert (world.warnings, world.watch.is_silent(world.state)) == ([], False)
    world.now_ns += SECOND
    assert (world.warnings, world.watch.is_silent(world.state)) == (["silent"], True)
    assert world.watch.accepted_ms(NAME) is None
    world.accept()
    assert (world.warnings, world.watch.is_silent(world.state)) == ([], False)
    assert world.watch.accepted_ms(NAME) == world.now_ns // 10**6
    world.now_ns += 61 * SECOND
    assert [words for _, words in world.watch.warnings()] == [
        "source demo: nothing was accepted for 61 s; expect_every_seconds is 60"
    ]


def test_what_a_reload_expects_begins_then() -> None:
    """Where a reload sets or changes it, the time begins then; a source that was taken out is not expected."""
    world = World()
    world.now_ns += 100 * HOUR
    assert (world.warnings, world.watch.is_silent(world.state)) == ([], None)
    world.configure(expect_every_seconds=60)
    assert world.warnings == []
    world.now_ns += 61 * SECOND
    assert world.warnings == ["silent"]
    world.state.configure(None)
    assert (world.warnings, world.watch.is_silent(world.state)) == ([], None)
