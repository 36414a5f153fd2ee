"""The record of refused requests: how many of a flood are recorded, and what becomes of those that find no room."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio

from server.base.worker import Worker
from server.cli.why import _lines
from server.observe.refusals import KNOWN_NS, STRANGERS_NS, WAITING_MAX, Grounds, Refusals, describe
from storage.refusals.records import RefusalRecord
from storage.refusals.ring_file import read
from tests.support.waiting import until

STRANGER = Grounds("demo", "token: not one of this source's tokens")
KNOWN = Grounds("demo", "the body is empty", is_known=True, body=b"{", body_bytes=1)


class World:
    """The record of a store, with a clock that goes on when it is told to."""

    def __init__(self, path: Path) -> None:
        self.now_ns = 10**12
        clock: Any = SimpleNamespace(monotonic_ns=lambda: self.now_ns, now_ms=lambda: self.now_ns // 10**6)
        self.refusals = Refusals(path, ("demo",), Worker("test"), clock)

    def note(self, grounds: Grounds, times: int = 1) -> None:
        for _ in range(times):
            self.refusals.note(401, "unauthorized", "192.0.2.1", ("POST", "/ingest/inbound/demo"), grounds)

    async def written(self, count: int) -> list[RefusalRecord]:
        """What is on record, the oldest first, once it is so much."""
        found = await self.refusals.read("demo", 1000)
        assert len(found) == count
        return found[::-1]


def is_written(path: Path, count: int) -> bool:
    return len(read(path, "demo", 9)) == count


def files(path: Path) -> list[Path]:
    return list(path.iterdir())


async def test_a_flood_is_recorded_by_time(tmp_path: Path) -> None:
    """Of strangers one a second is recorded, of known senders ten, each with how many came between."""
    world = World(tmp_path)
    for _ in range(3):
        world.note(STRANGER, 1000)
        world.now_ns += STRANGERS_NS
    assert [each.suppressed for each in await world.written(3)] == [0, 999, 999]
    for _ in range(2):
        world.note(KNOWN, 5)
        world.now_ns += KNOWN_NS
    found = [each.suppressed for each in await world.written(5) if each.is_known]
    assert found == [0, 4]


async def test_its_task_writes_by_itself(tmp_path: Path) -> None:
    """What is noted is in the file soon, though nobody asks for it."""
    world = World(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.refusals.run)
        for count in (1, 2):
            world.note(KNOWN)
            world.now_ns += KNOWN_NS
            await until(partial(is_written, tmp_path, count))
        nursery.cancel_scope.cancel()


async def test_unknown_sources_are_not_recorded(tmp_path: Path) -> None:
    """What names a source that does not exist waits for nothing, and makes no file."""
    world = World(tmp_path)
    for _ in range(5):
        world.note(Grounds("", STRANGER.why), 10)
        world.now_ns += STRANGERS_NS
    assert not world.refusals.waiting
    await world.written(0)
    assert files(tmp_path) == []


async def test_what_finds_no_room_is_counted(tmp_path: Path) -> None:
    """Records beyond those that may wait are lost, and so are those that the disk does not take; nothing fails."""
    world = World(tmp_path)
    for _ in range(WAITING_MAX + 7):
        world.note(KNOWN)
        world.now_ns += KNOWN_NS
    assert (world.refusals.waiting, world.refusals.lost) == (WAITING_MAX, 7)
    (tmp_path / "refusals").mkdir()
    await world.written(0)
    assert world.refusals.lost == WAITING_MAX + 7


async def test_the_text_is_for_people(tmp_path: Path) -> None:
    """On a terminal each refusal is a few lines, in which nothing can drive the terminal."""
    world = World(tmp_path)
    world.note(Grounds("demo", "why\x1b[31m", is_known=True, headers={"x-a": "b\x07"}, body=b"\x1b{", body_bytes=2))
    [record] = await world.written(1)
    assert list(_lines(describe(record))) == [
        "1970-01-01T00:16:40.000Z  401 unauthorized  from 192.0.2.1 (known)",
        "  why [31m",
        "  POST /ingest/inbound/demo",
        "    x-a: b\\x07",
        "  body, 2 bytes: \\x1b{",
    ]


def test_a_body_that_is_not_shown_is_said() -> None:
    """On a terminal the size of a compressed body is said, of which nothing is on record."""
    record = RefusalRecord("demo", 0, 400, "invalid_json", "why", True, "192.0.2.1", "POST", "/", {}, b"", 25, 0)
    assert list(_lines(describe(record)))[-1] == "  body, 25 bytes: not on record"
