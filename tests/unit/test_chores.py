"""What the log says of a store that refuses and takes again: a line for each, however it flaps."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.flow.committer import RETRY_SECONDS
from server.runtime.chores import TAKES_SECONDS, TELL_SECONDS, RefusalsTold
from storage.errors import StoreError, StoreFailed, StoreFull
from storage.lmdb_store.room import Share

MIB = 2**20
REFUSES, TAKES = "the store refuses deliveries", "the store takes deliveries again"
NO_ROOM = StoreFull("what is left is kept for outcomes")


class World:
    """A committer that refuses by what it is told, and a clock that goes on by one look each time."""

    def __init__(self) -> None:
        self.now_ns = 0
        share = Share(64 * MIB, 4 * MIB, 6 * MIB)
        self.room: Any = SimpleNamespace(disk=share, map=Share(64 * MIB, 60 * MIB, 6 * MIB))
        self.refusal: StoreError | None = None
        self.failure: StoreError | None = None
        clock: Any = SimpleNamespace(monotonic_ns=lambda: self.now_ns)
        self._told = RefusalsTold(self, clock)

    def look(self, seconds: float = TELL_SECONDS) -> list[tuple[str, str]]:
        """Look for so long; the level and event of each line."""
        with capture_logs() as lines:
            for _ in range(round(seconds / TELL_SECONDS)):
                self.now_ns += int(TELL_SECONDS * 1e9)
                self._told.look()
        self.lines: Sequence[Mapping[str, Any]] = lines
        return [(line["log_level"], line["event"]) for line in lines]


@pytest.fixture
def world() -> World:
    return World()


def test_each_refusal_is_seen() -> None:
    """Nothing fails and succeeds between two looks."""
    assert TELL_SECONDS < RETRY_SECONDS


def test_one_line_each_for_refusals(world: World) -> None:
    """One line at error when it begins to refuse, with the shortage; one when it has taken for a while."""
    assert world.look(60) == []
    world.refusal = NO_ROOM
    assert world.look(60) == [("error", REFUSES)]
    assert world.lines[0]["code"] == "storage_full"
    assert "its disk has 4 MiB left for it" in world.lines[0]["reason"]
    world.refusal = None
    assert world.look(TAKES_SECONDS - 2 * TELL_SECONDS) == []
    assert world.look(60) == [("info", TAKES)]
    assert world.lines[0]["refused_seconds"] == pytest.approx(60, abs=1)


def test_a_failure_is_said_by_itself(world: World) -> None:
    """A full store that then fails for good has a line for that too, with the error."""
    world.refusal = NO_ROOM
    assert world.look() == [("error", REFUSES)]
    world.refusal = world.failure = StoreFailed("fsync: Input/output error")
    assert world.look(60) == [("error", REFUSES)]
    [line] = world.lines
    assert (line["code"], line["reason"]) == ("storage_failed", "fsync: Input/output error")


def test_a_store_that_flaps_is_quiet(world: World) -> None:
    """Where refusing and taking alternate, there is one line, and at the end the other."""
    said = []
    for _ in range(50):
        world.refusal = world.failure = StoreFull("no space left on device")
        said += world.look(RETRY_SECONDS)
        world.refusal = world.failure = None
        said += world.look(RETRY_SECONDS)
    said += world.look(60)
    assert said == [("error", REFUSES), ("info", TAKES)]
