"""Retention in the store itself: beside readers, on a full store, and on one from before there was retention."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from storage.check.audit import Audit
from storage.codec.records import body_digests_of, key_of
from storage.errors import StoreError
from storage.history import DIED, DISCARDED
from storage.lmdb_store.environment import Store
from storage.lmdb_store.making import RETENTION_KEY
from storage.model import Append, Group
from storage.read import snapshot
from storage.read.reader import Reader
from storage.retain.foresee import foresee
from storage.retain.planner import Planner
from storage.retain.policy import Retention
from storage.statuses import EventStatus
from storage.write import transaction
from storage.write.writer import Writer
from tests.support.store import STORE_MS, Faults, delivery, numbered, opened, outcome, singles

AT_ONCE = Retention(archive_ms=1, receipt_ms=1)
FAR_MS = STORE_MS + (1 << 40)
"""When nothing is young."""


def grown(writer: Writer, random: Random, events: int = 3) -> Group:
    """A group of deliveries of two sources, and the outcomes of those before."""
    first, appends = writer.next_number, []
    for source_id in ("demo", "other"):
        ids = [f"id-{random.randrange(1 << 30)}" for _ in range(events)]
        body = random.randbytes(random.choice((50, 3000)))
        appends.append(Append(delivery(first, ids, source_id=source_id, body=body), events, EventStatus.DROPPED))
        first += events
    before = writer.next_number - 2 * events
    if before < 1:
        return Group(appends)
    dead = outcome(EventStatus.DEAD, [before], details={before: b'{"error":"x"}'})
    rest = [outcome(EventStatus.PROCESSED, range(before + 1, before + events))]
    rest.append(outcome(EventStatus.PROCESSED, range(before + events, before + 2 * events), source_id="other"))
    return Group(appends, [dead, *rest] if random.random() < 0.1 else [outcome(EventStatus.PROCESSED, [before]), *rest])


def look_around(store: Store, delivery_ids: list[str], ended: threading.Event) -> Iterator[str]:
    """Read everything again and again until the end; yield what is wrong."""
    reader = Reader(store)
    while not ended.is_set():
        problems: list[str] = []
        Audit(store, problems.append, lambda _database, _number: None).run()
        yield from problems
        try:
            for each in delivery_ids[::7]:
                reader.delivery(each)
            reader.dead(None)
            reader.dead_of("demo", ["id-1"])
            reader.find("demo", "id-2", bodies=True)
            list(reader.processed_since(0))
            reader.page("demo", 0, 1 << 40, events_max=100, bytes_max=1 << 20)
        except StoreError as error:
            yield str(error)


def test_readers_beside_it_see_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads while things leave, in as many snapshots as may be, finds what is there whole, and counts that can
    be."""
    monkeypatch.setattr(snapshot, "SNAPSHOT_RECORDS_MAX", 5)
    monkeypatch.setattr(transaction, "BLOCK_EVENTS_MIN", 12)
    random, found, ended, delivery_ids = Random(5), list[str](), threading.Event(), list[str]()
    with opened(tmp_path / "store") as (store, writer):
        reading = threading.Thread(target=lambda: found.extend(look_around(store, delivery_ids, ended)))
        reading.start()
        planner = Planner(store, calls_max=5)
        for _ in range(60):
            group = grown(writer, random)
            delivery_ids += [each.numbered.delivery_ids()[0] for each in group.appends]
            writer.write(group)
            writer.write(Group(removal=planner.plan(AT_ONCE, FAR_MS)))
        ended.set()
        reading.join()
        assert writer.totals["demo"].receipts_left > 20
    assert found == []


def test_a_discarded_event_holds_no_body(tmp_path: Path) -> None:
    """Behind the front of bodies its own leaves with the next step, that of a dead event does not; its receipt stays
    for its time, with its history."""
    kept = Retention(archive_ms=1, receipt_ms=1 << 41)
    with opened(tmp_path / "store") as (store, writer):
        bodies = singles(1, ["a", "b", "c"], bodies=[b"aaaa", b"bbbb", b"cccc"])
        writer.write(Group([Append(bodies, 3, EventStatus.DROPPED), numbered(4, 1, source_id="other")]))
        died = outcome(EventStatus.DEAD, [1, 2], details={1: b'{"error":"x"}', 2: b'{"error":"y"}'})
        writer.write(Group([], [died, outcome(EventStatus.PROCESSED, [3])]))
        planner, reader = Planner(store), Reader(store)
        writer.write(Group(removal=planner.plan(kept, FAR_MS)))
        assert (writer.totals["demo"].expired, writer.totals["demo"].dead_now) == (1, 2)
        [dead] = reader.dead_events([2])
        unwanted = outcome(EventStatus.DISCARDED, [2], histories={2: dead.then(DISCARDED, STORE_MS)})
        writer.write(Group([], [unwanted]))
        writer.write(Group(removal=planner.plan(kept, FAR_MS)))
        assert (writer.totals["demo"].expired, writer.totals["demo"].dead_now) == (2, 1)
        assert reader.dead_numbers("demo", 0, 10) == [1]
        (record,) = reader.find("demo", "b")
        assert (record.status, dict(record.detail)) == (EventStatus.DISCARDED, {"error": "y"})
        assert [turn.change for turn in record.history] == [DIED, DISCARDED]
        problems: list[str] = []
        Audit(store, problems.append, lambda _database, _number: None).run()
        assert problems == []


@pytest.mark.parametrize("by_then", ["given back", "being given back", "dead"])
def test_an_event_given_back_keeps_its_body(tmp_path: Path, by_then: str) -> None:
    """A dead event that was to leave stays if it is given back with the same group, or if a command that does so has
    begun; the events beside it leave."""
    with opened(tmp_path / "store") as (store, writer):
        bodies = singles(1, ["a", "b", "c"], bodies=[b"aaaa", b"bbbb", b"cccc"])
        writer.write(Group([Append(bodies, 3, EventStatus.DROPPED), numbered(4, 1, source_id="other")]))
        died = outcome(EventStatus.DEAD, [2], details={2: b'{"error":"x"}'})
        writer.write(Group([], [died, outcome(EventStatus.PROCESSED, [1, 3])]))
        planner = Planner(store)
        writer.write(Group(removal=planner.plan(AT_ONCE, FAR_MS)))
        assert writer.totals["demo"].expired == 2
        step = planner.plan(replace(AT_ONCE, dead_ms=1), FAR_MS)
        back = [outcome(EventStatus.PENDING, [2])] if by_then == "given back" else []
        writer.write(Group([], back, removal=replace(step, dead_may_leave=by_then != "being given back")))
        reader = Reader(store)
        (record,) = reader.find("demo", "b", bodies=True)
        assert (record.left_at_ms > 0) == (by_then == "dead")
        assert record.numbered.deliveries.bodies == [b"" if by_then == "dead" else b"bbbb"]
        assert reader.dead_numbers("demo", 0, 10) == ([2] if by_then == "being given back" else [])
        problems: list[str] = []
        Audit(store, problems.append, lambda _database, _number: None).run()
        assert problems == []


def test_a_full_store_gets_room_again(tmp_path: Path) -> None:
    """Where no delivery is taken any more, what is left of the map is enough for steps of retention, however small."""
    random = Random(5)
    with opened(tmp_path / "store", map_size_bytes=1 << 20) as (store, writer):
        while store.used_bytes() + store.reserve_bytes <= store.map_size_bytes:
            writer.write(grown(writer, random, events=50))
        planner, steps = Planner(store), 0
        while not (step := planner.plan(AT_ONCE, FAR_MS, smallest=True)).is_empty:
            steps += 1
            writer.write(Group(removal=step))
        assert steps > 10
        assert 2 * store.used_bytes() < store.map_size_bytes


def test_an_old_store_has_no_defaults(tmp_path: Path) -> None:
    """A store that is made now says so for good; one without the mark is older, and what would leave it can be told."""
    path = tmp_path / "store"
    with opened(path) as (store, writer):
        assert store.has_defaults
        for _ in range(200):
            writer.write(grown(writer, Random(5), events=10))
        with store.write_transaction() as txn:
            txn.delete(RETENTION_KEY, db=store.meta)
    with opened(path) as (store, writer):
        assert not store.has_defaults
        told = foresee(store, AT_ONCE, FAR_MS)
        planner = Planner(store)
        for _ in range(3):
            while not (step := planner.plan(AT_ONCE, FAR_MS, new_pass=False)).is_empty:
                writer.write(Group(removal=step))
        left = writer.totals.values()
        assert told.bodies == sum(each.expired for each in left)
        assert told.receipts >= sum(each.receipts_left for each in left) > 0
        assert told.body_bytes > 0


def test_a_split_without_deletions_is_judged_again(tmp_path: Path) -> None:
    """A dead event behind a pending one in the same record keeps its body, where a command gives it back by then."""
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([Append(singles(1, ["a", "b"], bodies=[b"aaaa", b"bbbb"]), 2, EventStatus.DROPPED)]))
        writer.write(Group([], [outcome(EventStatus.DEAD, [2], details={2: b'{"error":"x"}'})]))
        step = Planner(store).plan(replace(AT_ONCE, dead_ms=1), FAR_MS)
        assert [each.deletions for each in step.bodies] == [[]]
        writer.write(Group(removal=replace(step, dead_may_leave=False)))
        (record,) = Reader(store).find("demo", "b", bodies=True)
        assert record.numbered.deliveries.bodies[record.position] == b"bbbb"


def test_one_block_on_both_sides_of_the_front(tmp_path: Path) -> None:
    """Where what was kept before the front leaves, and what comes after it, of one block, the others stay whole."""
    with opened(tmp_path / "store") as (store, writer):
        appends = [numbered(first, 1, source_id=source_id) for first, source_id in enumerate("abcd", 1)]
        writer.write(Group([*appends, *(numbered(first, 1, source_id="e") for first in range(5, 300))]))
        writer.write(Group([numbered(300, 1)]))
        writer.write(Group([], [outcome(EventStatus.DEAD, [1], source_id="a", details={1: b'{"error":"x"}'})]))
        writer.write(Group([], [outcome(EventStatus.PROCESSED, [3], source_id="c")]))
        planner, young = Planner(store), replace(AT_ONCE, receipt_ms=FAR_MS)
        writer.write(Group(removal=planner.plan(young, FAR_MS)))
        writer.write(Group(removal=planner.plan(young, FAR_MS)))
        writer.write(Group([], [outcome(EventStatus.PROCESSED, [2], source_id="b")]))
        for policy in (young, AT_ONCE, AT_ONCE):
            writer.write(Group(removal=planner.plan(policy, FAR_MS)))
        reader, problems = Reader(store), list[str]()
        found = {source_id: len(reader.find(source_id, f"id-{place}")) for place, source_id in enumerate("abcd", 1)}
        assert found == {"a": 1, "b": 0, "c": 0, "d": 1}
        Audit(store, problems.append, lambda _database, _number: None).run()
        assert problems == []


def test_a_look_at_details_takes_few_calls(tmp_path: Path) -> None:
    """Looking again at a thousand results that stay asks LMDB hardly more often than at ten: each call may wait."""

    def calls(count: int) -> int:
        faults = Faults()
        with opened(tmp_path / str(count), open_environment=faults.open) as (store, writer):
            writer.write(Group([numbered(1, count)]))
            results = dict.fromkeys(range(2, count + 1), b'{"result":1}')
            died = outcome(EventStatus.DEAD, [1], details={1: b'{"error":"x"}'})
            writer.write(Group([], [outcome(EventStatus.PROCESSED, list(results), details=results), died]))
            writer.write(Group([numbered(count + 1, 1)]))
            writer.write(Group([], [outcome(EventStatus.PROCESSED, [count + 1], details={count + 1: b"{}"})]))
            planner = Planner(store)
            writer.write(Group(removal=planner.plan(AT_ONCE, FAR_MS)))
            before = faults.calls
            planner.plan(AT_ONCE, FAR_MS)
            return faults.calls - before

    assert calls(1000) < 2 * calls(10)


def test_what_is_on_its_way_holds_ids(tmp_path: Path) -> None:
    """Where commits fail for hours, the ids stay that an acknowledged event may need which is not in the store yet."""
    hour_ms = 3_600_000
    policy = Retention(archive_ms=1, receipt_ms=1, window_ms=2 * hour_ms)
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 300)]))
        writer.write(Group([numbered(301, 1)], [outcome(EventStatus.PROCESSED, range(1, 301))]))
        writer.write(Group([], [outcome(EventStatus.PROCESSED, [301])]))
        planner, now_ms = Planner(store), STORE_MS + 4 * hour_ms
        writer.write(Group(removal=planner.plan(policy, now_ms)))
        assert planner.plan(policy, now_ms, on_its_way_since_ms=STORE_MS + hour_ms).receipts == []
        assert planner.plan(policy, now_ms, on_its_way_since_ms=STORE_MS + 3 * hour_ms).receipts != []


def test_verify_finds_what_was_left_behind(tmp_path: Path) -> None:
    """Facts between two blocks, of a block that has left, are a problem."""
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 300), numbered(301, 300, source_id="other")]))
        for first in (601, 901):
            writer.write(Group([numbered(first, 300)]))
        for source_id, first in (("other", 301), ("demo", 601), ("demo", 901)):
            writer.write(Group([], [outcome(EventStatus.PROCESSED, range(first, first + 300), source_id=source_id)]))
        planner = Planner(store)
        with store.read_transaction() as txn:
            left = bytes(txn.get(key_of(601), db=store.facts))
        for _ in range(3):
            writer.write(Group(removal=planner.plan(replace(AT_ONCE, window_ms=1), FAR_MS)))
        with store.write_transaction() as txn:
            txn.put(key_of(601), left, db=store.facts)
        problems: list[str] = []
        Audit(store, problems.append, lambda _database, _number: None).run()
        assert problems == ["facts, key 601: there is no block for it"]


def test_digests_of_bodies_leave_with_the_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is split for the sake of one dead event is split in its digests too, and what has left has none."""
    monkeypatch.setattr(transaction, "BLOCK_EVENTS_MIN", 1)
    with opened(tmp_path / "store") as (store, writer):
        hashed = [delivery(first, [f"id-{first}", None], body_hash=f"{first:032x}") for first in (1, 3, 5)]
        writer.write(Group([Append(each, 2, EventStatus.DROPPED) for each in hashed]))
        writer.write(Group([numbered(7, 1)]))
        died = outcome(EventStatus.DEAD, [3], details={3: b'{"error":"x"}'})
        writer.write(Group([], [died, outcome(EventStatus.PROCESSED, [1, 2, 4, 5, 6])]))
        planner = Planner(store)
        for policy, left in ((replace(AT_ONCE, receipt_ms=0), [1, 3, 5]), (AT_ONCE, [3]), (AT_ONCE, [3])):
            writer.write(Group(removal=planner.plan(policy, FAR_MS)))
            with snapshot.Snapshots(store).take() as found:
                digests = dict(found.body_digests_in(0, 100))
            assert list(digests) == left
            assert digests[3] == body_digests_of(hashed[1])
        reader = Reader(store)
        assert reader.processed_at([(digests[3][16:], 4), (digests[3][16:], 1)]) == [STORE_MS + 1, None]
        problems: list[str] = []
        Audit(store, problems.append, lambda _database, _number: None).run()
        assert problems == []
