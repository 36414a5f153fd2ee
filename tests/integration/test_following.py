"""Reading for those who look on, step by step: pages that are bounded, followers who keep up, and those who leave."""

import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from server.base.worker import Worker
from server.http.admin.event_routes import LEFT_SECONDS, _follow
from server.http.admin.finding import ANSWER_BYTES_MAX, Finding
from server.http.asgi.connection import Connection
from storage.model import Group
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.recent import Recent
from storage.statuses import EventStatus
from tests.support.store import numbered, opened, outcome


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_large_payloads_come_in_short_pages(tmp_path: Path, order: str) -> None:
    """A page ends with the event that exceeds the bytes of an answer, and the pages together have every event once."""
    body = b'{"t":"%b"}' % (b"x" * (ANSWER_BYTES_MAX * 2 // 5))
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(number, 1, body=body) for number in range(1, 8)]))
        reader, worker = Reader(store), Worker("find")
        finding = following_to(8, (reader, reader), (worker, worker), idle=trio.lowlevel.checkpoint)
        query: EventQuery | None = EventQuery(oldest_first=order == "oldest")
        pages: list[list[int]] = []
        while query is not None:
            texts, query, _ = await finding.find(query, 500, payloads=True)
            pages.append([json.loads(text)["number"] for text in texts])
    numbers = range(1, 8) if order == "oldest" else range(7, 0, -1)
    assert pages == [[*numbers[:3]], [*numbers[3:6]], [*numbers[6:]]]


async def test_who_has_left_is_not_followed(autojump_clock: trio.testing.MockClock) -> None:
    """A second after the client has closed its side, though nothing comes, its place is another one's."""
    unused: Any = None
    finding = following_to(1, (unused, unused), (unused, unused), idle=trio.sleep_forever)
    left = False
    following = _follow(finding, EventQuery(oldest_first=True), lambda: left, payloads=False)
    assert await anext(following) == await anext(following)  # two signs of life
    began, left = trio.current_time(), True
    assert [each async for each in following] == []
    assert trio.current_time() - began <= LEFT_SECONDS
    assert finding.recent.followers == 0


@pytest.mark.parametrize("closed", [False, True])
async def test_a_connection_tells_who_has_left(closed: bool) -> None:
    """Whether the client has closed its side, also behind what it has sent and nobody has read."""
    ours, theirs = socket.socketpair()
    theirs.send(b"GET")
    if closed:
        theirs.close()
    unused: Any = None
    connection = Connection(unused, unused, trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
    assert connection.has_left() is closed
    await connection.stream.aclose()
    theirs.close()


def following_to(
    end: int,
    readers: tuple[Any, Any],
    workers: tuple[Any, Any],
    *,
    recent: Recent | None = None,
    idle: Callable[[], Awaitable[None]],
) -> Finding:
    """What followers need, where the store ends at this number and nothing more comes."""
    recent = recent or Recent()
    return Finding(readers, workers, lambda: 0, end=lambda: end, committed=trio.sleep_forever, recent=recent, idle=idle)


async def test_followers_get_on_though_deliveries_never_rest(tmp_path: Path) -> None:
    """A step waits only a little for them to have their answers."""
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 3)]))
        reader, worker = Reader(store), Worker("tail")
        finding = following_to(4, (reader, reader), (worker, worker), idle=trio.sleep_forever)
        texts, query = await finding.follow_on(EventQuery(oldest_first=True), 4, payloads=False)
        assert [text.partition(b"\n")[0] for text in texts] == [b"id: 1", b"id: 2", b"id: 3"]
        assert query.after == 3


async def test_who_keeps_up_reads_no_records(tmp_path: Path) -> None:
    """What came last is told from memory: without its record in the store it is told all the same, with its status."""
    with opened(tmp_path / "store") as (store, writer):
        reader, worker, recent = Reader(store), Worker("tail"), Recent()
        finding = following_to(4, (reader, reader), (worker, worker), recent=recent, idle=trio.lowlevel.checkpoint)
        first, later = Group([numbered(1, 2)]), Group([numbered(3, 1)], [outcome(EventStatus.PROCESSED, [1])])
        with recent.following():
            for group in (first, later):
                writer.write(group)
                recent.take_over(group)
            with store.env.begin(write=True) as txn:
                txn.drop(store.facts, delete=False)
            texts, _ = await finding.follow_on(EventQuery(oldest_first=True), 4, payloads=False)
        told = [json.loads(text.partition(b"data: ")[2]) for text in texts]
        assert [(each["number"], each["outcome"]) for each in told] == [
            (1, "processed"),
            (2, "pending"),
            (3, "pending"),
        ]
        assert (await finding.follow_on(EventQuery(oldest_first=True), 4, payloads=False))[0] == []


async def test_followers_are_not_told_what_left_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten while a step has it from memory is read anew, and told as the store has it then."""
    with opened(tmp_path / "store") as (store, writer):
        reader, worker, recent = Reader(store), Worker("tail"), Recent()
        finding = following_to(2, (reader, reader), (worker, worker), recent=recent, idle=trio.lowlevel.checkpoint)
        anything: Any = object()

        def forget() -> None:
            recent.take_over(Group(erasure=anything))
            with store.env.begin(write=True) as txn:
                txn.drop(store.facts, delete=False)

        monkeypatch.setattr("server.observe.events.give_way", forget)
        with recent.following():
            writer.write(Group([numbered(1, 1)]))
            recent.take_over(Group([numbered(1, 1)]))
            assert (await finding.follow_on(EventQuery(oldest_first=True), 2, payloads=True))[0] == []


async def test_a_step_of_followers_gives_way_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each event that is told."""
    given = list[str]()
    monkeypatch.setattr("server.observe.events.give_way", lambda: given.append("way"))
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 3)]))
        reader, worker = Reader(store), Worker("tail")
        finding = following_to(4, (reader, reader), (worker, worker), idle=trio.lowlevel.checkpoint)
        await finding.follow_on(EventQuery(oldest_first=True), 4, payloads=False)
    assert given == ["way"] * 3


async def test_followers_wait_until_deliveries_have_answers(autojump_clock: trio.testing.MockClock) -> None:
    """No step begins before; after it all of them rest, four times as long, and a second at most."""
    said: list[tuple[str, float]] = []

    class Reading:
        seconds = 0.1
        busy = False

        async def run(self, *_: object) -> tuple[list[bytes], None]:
            said.append(("reads", trio.current_time()))
            await trio.sleep(self.seconds)  # of a clock that jumps
            return [], None

    async def idle() -> None:
        await trio.sleep(0.01)  # of a clock that jumps
        said.append(("idle", trio.current_time()))

    reading: Any = Reading()
    finding = following_to(1, (reading, reading), (reading, reading), idle=idle)
    began = trio.current_time()
    for reading.seconds in (0.1, 10, 0):
        await finding.follow_on(EventQuery(oldest_first=True), 1, payloads=False)
    assert [what for what, _ in said] == ["idle", "reads"] * 3
    starts = [at - began for what, at in said if what == "reads"]
    assert starts == pytest.approx([0.01, 0.11 + 0.4 + 0.01, 10.52 + 1 + 0.01])
