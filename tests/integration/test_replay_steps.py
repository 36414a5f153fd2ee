"""The steps of a replay, on a real store: what each reads, where it ends, and that none of them leaves an event out."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.flow import replaying
from server.flow.replaying import Count, next_step
from server.intake.events import build_events
from server.intake.replays import again
from storage.check.verify import verify
from storage.codec.records import SAME_BYTES, digest, replay_digest
from storage.deliveries import NumberedDeliveries
from storage.model import Append, Group
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.replays import DONE, RUNNING, Replay, decode_replay, encode_replay
from storage.statuses import EventStatus
from storage.write.writer import Writer
from tests.support.store import AT_MS, SUFFIX, changed, delivery, opened, outcome

NOW_MS = AT_MS + 9000


def asked(end: int, **keys: object) -> Replay:
    """A replay of the processed events of demo before this number."""
    query = EventQuery(source_id="demo", statuses=[EventStatus.PROCESSED], where=[], before=end, oldest_first=True)
    return Replay("r", replace(query, **keys), "demo", 0, AT_MS)  # type: ignore[arg-type]


def filled(writer: Writer) -> None:
    """Deliveries of one event and of many, of two types and two sources, of which all but some are processed."""
    for turn in range(12):
        first = writer.next_number
        kind = ("webhook", "segment")[turn % 5 == 4]
        ids = [f"id-{turn}-{at}" for at in range(1 + turn % 4)]
        body = b'{"batch":[%b]}' if kind == "segment" else b"[%b]"
        items = b",".join(b'{"n":%d}' % at for at in range(len(ids)))
        whole = items if len(ids) == 1 and kind == "webhook" else body % items
        found = delivery(first, ids, source_type=kind, body=whole, source_id="other" if turn == 6 else "demo")
        batched = changed(found, batched=[kind == "segment" or len(ids) > 1])
        writer.write(Group([Append(batched, len(ids), EventStatus.DEFERRED)]))
        done = outcome(
            EventStatus.PROCESSED, range(first + turn % 3 % len(ids), first + len(ids)), source_id=found.source_id
        )
        writer.write(Group([], [done]))


def replayed(writer: Writer, reader: Reader, found: Replay) -> Replay:
    """Do all steps, each in one transaction with the record; the replay as it is then on record."""
    while found.state == RUNNING:
        step = next_step(reader, found, NOW_MS)
        found = step.after
        appends = []
        if step.deliveries is not None:
            numbered = NumberedDeliveries(writer.next_number, SUFFIX, step.deliveries)
            appends = [Append(numbered, numbered.count, EventStatus.DEFERRED)]
        writer.write(Group(appends, replays={found.id: encode_replay(found)}))
        assert reader.replays() == [decode_replay(found.id, encode_replay(found))] == [found]
    return found


@pytest.mark.parametrize("events_max", [1, 2, 500])
@pytest.mark.parametrize("looks_max", [1, 20_000])
def test_each_event_is_replayed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events_max: int, looks_max: int
) -> None:
    """However small the steps are: exactly those that the count says, each with its payload; verify finds it right."""
    monkeypatch.setattr(replaying, "STEP_EVENTS_MAX", events_max)
    monkeypatch.setattr(replaying, "STEP_LOOKS_MAX", looks_max)
    with opened(tmp_path / "store") as (store, writer):
        filled(writer)
        reader, end = Reader(store), writer.next_number
        count = Count(asked(end).query)
        while count.step(reader):
            pass
        done = replayed(writer, reader, asked(end))
        assert (done.state, done.replayed, done.gone) == (DONE, count.events, 0)
        wanted: dict[int, dict[str, Any]] = {}
        query: EventQuery | None = asked(end).query
        while query is not None:
            page = reader.select(query, bodies=True)
            wanted |= {each.number: build_events(each.numbered, [each.position])[0] for each in page.records}
            query = page.following
        assert count.events == len(wanted) > 10
        found: Counter[int] = Counter()
        query = EventQuery(source_id="demo", after=end - 1, oldest_first=True)
        while query is not None:
            page = reader.select(query, bodies=True)
            for each in page.records:
                [event] = build_events(each.numbered, [each.position])
                meta: Any = event["meta"]
                original = meta["replay"]
                found[original] += 1
                assert event["payload"] == wanted[original]["payload"]
                assert event["inbound_event_id"] == wanted[original]["inbound_event_id"]
            query = page.following
        assert found == Counter(wanted.keys())
        assert writer.totals["demo"].replayed == len(wanted)
        again_later = replayed(writer, reader, replace(asked(writer.next_number), id="r"))
        assert again_later.replayed == len(wanted)  # what is replayed is not replayed
    assert verify(tmp_path / "store").problems == []


def test_a_limit_ends_a_replay(tmp_path: Path) -> None:
    """After so many events, the first that came; the count knows it, too."""
    with opened(tmp_path / "store") as (store, writer):
        filled(writer)
        found = asked(writer.next_number, limit=3)
        count = Count(found.query)
        while count.step(Reader(store)):
            pass
        assert count.events == replayed(writer, Reader(store), found).replayed == 3


def test_a_large_step_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the delivery that takes it over its bytes, or is of another type; one that is larger goes alone."""
    monkeypatch.setattr(replaying, "STEP_BODY_BYTES_MAX", 100)
    with opened(tmp_path / "store") as (store, writer):
        for at in range(3):
            writer.write(
                Group(
                    [Append(delivery(at + 1, [f"id-{at}"], body=b'{"x":"%s"}' % (b"x" * 90)), 1, EventStatus.DEFERRED)]
                )
            )
        writer.write(Group([], [outcome(EventStatus.PROCESSED, [1, 2, 3])]))
        step = next_step(Reader(store), asked(4), NOW_MS)
        assert step.deliveries is not None
        assert (step.deliveries.count, step.after.after, step.after.replayed) == (1, 1, 1)


def test_a_replayed_batch_is_cut(tmp_path: Path) -> None:
    """Of a part of a delivery the body has the items of these events alone; of a whole one it is what came."""
    body = b'{"batch":[{"n":0},{"n":1},{"n":2}],"context":{"ip":"x"}}'
    whole = changed(delivery(7, ["a", None, "c"], source_type="segment", body=body), batched=[True])
    part = again(whole, [0, 2], "other", NOW_MS)
    assert part.bodies == [b'{"batch":[{"n":0},{"n":2}],"context":{"ip":"x"}}']
    assert (part.source_id, part.indexes, part.replay_of) == ("other", [0, 1], [7, 9])
    same = again(whole, [0, 1, 2], "demo", NOW_MS)
    assert (same.bodies, same.received_at_ms) == ([body], [NOW_MS])
    assert same.ids == ["a", whole.event_id(1), "c"]


def test_a_replay_has_a_digest_of_its_own() -> None:
    """It begins like that of its id, as the look-up index goes by that, and differs in what the dedup index goes by."""
    own = digest("demo", "a")
    found = {replay_digest(own, number) for number in range(1, 2000)}
    assert len(found) == 1999
    assert {each[:SAME_BYTES] for each in found} == {own[:SAME_BYTES]}
    assert all(each[:8] != own[:8] for each in found)
