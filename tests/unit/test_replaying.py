"""Replays: when the next step may be done, so that what comes has its turn."""

from types import SimpleNamespace
from typing import Any

import pytest

from server.base.refusal import Refusal
from server.cli.replay import asked_for
from server.flow.consumer import REQUEUED_EVENTS_MAX
from server.flow.replaying import AHEAD_EVENTS, KEPT_MAX, RUNNING_MAX, Replays
from server.flow.source_state import SourceState
from server.observe.replays import describe_replay
from storage.errors import StoreFull
from storage.read.query import EventQuery, Where
from storage.read.replays import STOPPED, Replay, decode_replay
from storage.statuses import EventStatus, Totals

BACKLOG = 1000


class Parts:
    """A source at work, and a committer that can write."""

    def __init__(self) -> None:
        self.state = SourceState("demo", Totals())
        self.consumer = SimpleNamespace(room=REQUEUED_EVENTS_MAX, stopping=False)
        self.queue = SimpleNamespace(behind=False, cursor=0)
        self.state.consumer, self.state.queue = self.consumer, self.queue
        self.records: dict[str, bytes | None] = {}
        self.committer = SimpleNamespace(refusal=None, stored_end=9, put_replay=self.put_replay)
        engine = SimpleNamespace(state=lambda _: SimpleNamespace(source=SimpleNamespace(archive_only=False)))
        reader: Any = SimpleNamespace(replays=list)
        parts: Any = (engine, SimpleNamespace(), self.committer, reader)
        self.replays = Replays(*parts, now_ms=lambda: 1, backlog_events_max=BACKLOG)

    async def put_replay(self, identity: str, record: bytes | None) -> bool:
        self.records[identity] = record
        return True

    async def begun(self) -> Replay:
        found = await self.replays.begin(EventQuery(source_id="demo"), "demo")
        assert isinstance(found, Replay)
        return found

    @property
    def has_room(self) -> bool:
        return self.replays._has_room(self.state)


async def test_a_replay_keeps_few_events_ahead() -> None:
    """While so many of what was appended wait for their turn, nothing is added."""
    parts = Parts()
    assert parts.has_room
    parts.consumer.room = REQUEUED_EVENTS_MAX - AHEAD_EVENTS + 1
    assert parts.has_room
    parts.consumer.room -= 1
    assert not parts.has_room


async def test_a_replay_behind_a_backlog_waits() -> None:
    """Where events of the source wait on disk, until those that were appended have been read back from there."""
    parts = Parts()
    parts.replays._last["demo"] = 500
    parts.queue.behind, parts.queue.cursor = True, 500
    assert not parts.has_room
    parts.queue.cursor = 501
    assert parts.has_room


@pytest.mark.parametrize("why", ["stopping", "full", "backlog", "without a consumer"])
async def test_a_replay_waits_for_its_source(why: str) -> None:
    """While the source can take nothing: it stops, the store is full, too much is pending, or it is not at work."""
    parts = Parts()
    if why == "stopping":
        parts.consumer.stopping = True
    elif why == "full":
        parts.committer.refusal = StoreFull("full")
    elif why == "backlog":
        parts.state.totals = Totals(pending=BACKLOG)
    else:
        parts.state.consumer = parts.state.queue = None
    assert not parts.has_room


async def test_few_replays_may_run_at_a_time() -> None:
    """Each is on record before it is answered; one more than may be is refused until one has ended."""
    parts = Parts()
    begun = [await parts.begun() for _ in range(RUNNING_MAX)]
    assert {each.id for each in begun} == parts.records.keys()
    refused = await parts.replays.begin(EventQuery(source_id="demo"), "demo")
    assert isinstance(refused, Refusal)
    assert refused.code == "overloaded"
    stopped = await parts.replays.stop(begun[3].id)
    assert isinstance(stopped, Replay)
    assert (stopped.state, parts.replays.report()[3]) == (STOPPED, stopped)
    record = parts.records[stopped.id]
    assert record is not None
    assert decode_replay(stopped.id, record).state == STOPPED
    await parts.begun()


async def test_the_last_replays_stay_on_record() -> None:
    """Beyond so many the first that ended goes, with its record; one that has not ended stays."""
    parts = Parts()
    running = await parts.begun()
    for _ in range(KEPT_MAX + 5):
        await parts.replays.stop((await parts.begun()).id)
    found = parts.replays.report()
    assert (len(found), found[0].id) == (KEPT_MAX, running.id)
    assert {each.id for each in found} == {identity for identity, record in parts.records.items() if record is not None}


async def test_a_replay_tells_what_it_is_of() -> None:
    """All that was asked for is shown, while it runs and afterwards; of what was looked for in payloads the places
    alone, and what was looked for there is not on record once it has ended."""
    parts = Parts()
    query = EventQuery(
        source_id="demo",
        since_ms=1_700_000_000_000,
        statuses=[EventStatus.DEAD],
        event_type="order.paid",
        id_prefix="o-",
        where=[Where(["payload", "name"], ("Ada",))],
        limit=7,
    )
    begun = await parts.replays.begin(query, "demo")
    assert isinstance(begun, Replay)
    ended = await parts.replays.stop(begun.id)
    assert isinstance(ended, Replay)
    record = parts.records[begun.id]
    assert record is not None
    assert b"Ada" not in record
    for found in (begun, ended, decode_replay(begun.id, record)):
        said = describe_replay(found)
        assert (said["type"], said["id"], said["event_id"], said["where"]) == (
            "order.paid",
            "o-",
            None,
            ["payload.name"],
        )
        assert asked_for(said) == (
            "--since 2023-11-14T22:13:20.000Z --type order.paid --id o- --outcome dead --where payload.name --limit 7"
        )
    assert asked_for(describe_replay(Replay("x", EventQuery(statuses=[EventStatus.PROCESSED]), "demo", 0, 1))) == ""
