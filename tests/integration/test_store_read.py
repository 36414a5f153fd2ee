"""Reading: what waits, by source and by number; look-ups by id, by delivery; the dead; the processed."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from storage.codec.log_record import LogHead, decode_log, decode_log_head
from storage.codec.records import digest, digests_of, key_of
from storage.deliveries import NumberedDeliveries
from storage.delivery_id import delivery_id
from storage.errors import StoreDamaged
from storage.forget.find import events_of_id
from storage.lmdb_store.environment import Store
from storage.model import Append, Group, Span
from storage.read import processed as processed_module
from storage.read import scan
from storage.read import snapshot as snapshot_module
from storage.read.lookup import places_of
from storage.read.query import EventQuery
from storage.read.reader import ON_ITS_WAY, Reader
from storage.read.snapshot import SNAPSHOT_RECORDS_MAX, Snapshot, Snapshots
from storage.statuses import EventStatus
from storage.write.writer import Writer
from tests.support.store import AT_MS, STORE_MS, SUFFIX, delivery, numbered, opened, outcome, random_ids, singles

HUGE = 1 << 40


@pytest.fixture
def store_and_writer(tmp_path: Path) -> Iterator[tuple[Store, Writer]]:
    with opened(tmp_path / "store") as both:
        yield both


def fed(reader: Reader, source_id: str, end: int, *, events_max: int, bodies: bool) -> list[Span]:
    """Everything that waits, page by page."""
    spans: list[Span] = []
    start = 0
    while start < end:
        page = reader.page(source_id, start, end, events_max=events_max, bytes_max=HUGE, bodies=bodies)
        assert start < page.next <= end
        spans += page.spans
        start = page.next
    return spans


def numbers_of(spans: list[Span]) -> list[int]:
    numbers = [number for span in spans for number in span.numbers]
    assert all(low < high for low, high in pairwise(numbers))
    return numbers


@pytest.mark.parametrize("count", [100, 150, 250, 350])
def test_values_in_pieces_are_read_whole(store_and_writer: tuple[Store, Writer], count: int) -> None:
    """Whichever event of whichever record is asked for, its delivery is found, with the ids that were put."""
    store, writer = store_and_writer
    made = []
    for turn in range(3):
        ids = random_ids(count, turn)
        body = orjson.dumps(random_ids(2 * count, -1 - turn))
        made.append(delivery(writer.next_number, ids, body=body))
        writer.write(Group([Append(made[-1], count, EventStatus.DEFERRED)]))
    with store.read_transaction() as txn:
        assert txn.stat(store.facts)["entries"] >= 2 * len(made)
        assert txn.stat(store.bodies)["entries"] >= 2 * len(made)
    reader = Reader(store)
    for one in made:
        ids = list(one.event_ids())
        found = reader.delivery(one.delivery_ids()[0]) or []
        assert [record.numbered.event_id(record.position) for record in found] == ids
        assert [record.number for each in ids for record in reader.find("demo", each)] == list(
            range(one.first, one.end)
        )
        assert reader.find("demo", ids[-1], bodies=True)[0].numbered.deliveries.bodies == one.deliveries.bodies
    assert numbers_of(reader.spans(range(1, writer.next_number))) == list(range(1, writer.next_number))
    assert reader.delivery(delivery_id(writer.next_number, SUFFIX)) is None


@pytest.mark.parametrize("bodies", [True, False])
@pytest.mark.parametrize("events_max", [1, 7, 100_000])
def test_feeding_gives_everything_that_waits_once(
    store_and_writer: tuple[Store, Writer], bodies: bool, events_max: int
) -> None:
    """Page by page, at any page size, a source's pending events come once each and in order, and nobody else's."""
    store, writer = store_and_writer
    mine = []
    for turn in range(60):
        first = writer.next_number
        writer.write(Group([numbered(first, 3), numbered(first + 3, 40, source_id="other"), numbered(first + 43, 4)]))
        mine += [first, first + 1, first + 2, *range(first + 43, first + 47)]
        if turn % 2:
            writer.write(Group([], [outcome(EventStatus.PROCESSED, [first + 1, first + 43])]))
            mine.remove(first + 1)
            mine.remove(first + 43)
    spans = fed(Reader(store), "demo", writer.next_number, events_max=events_max, bodies=bodies)
    assert numbers_of(spans) == mine
    assert b"".join(span.digests for span in spans) == b"".join(digest("demo", f"id-{number}") for number in mine)
    for span in spans:
        assert span.source_id == "demo"
        assert span.attempts == [0] * len(span.numbers)
        assert span.received_at_ms == AT_MS
        assert (span.numbered is not None) == bodies


def test_a_page_takes_whole_deliveries_within_its_limits(store_and_writer: tuple[Store, Writer]) -> None:
    """With bodies a page ends before the delivery that would go beyond events or bytes, and has at least one."""
    store, writer = store_and_writer
    writer.write(Group([numbered(1 + 10 * turn, 10, body=b"x" * 100) for turn in range(5)]))
    reader = Reader(store)

    def page(events_max: int, bytes_max: int) -> tuple[list[int], int]:
        found = reader.page("demo", 0, 51, events_max=events_max, bytes_max=bytes_max)
        return [first for span in found.spans if span.numbered for first in span.numbered.firsts()], found.next

    assert page(30, HUGE) == ([1, 11, 21], 31)
    assert page(29, HUGE) == ([1, 11], 21)
    assert page(1, HUGE) == ([1], 11)
    assert page(HUGE, 250) == ([1, 11], 21)
    assert page(HUGE, 0) == ([1], 11)
    assert page(HUGE, HUGE) == ([1, 11, 21, 31, 41], 51)


def test_without_bodies_a_page_holds_events_exactly(store_and_writer: tuple[Store, Writer]) -> None:
    """Without bodies events_max is exact and cuts deliveries."""
    store, writer = store_and_writer
    writer.write(Group([numbered(1, 10), numbered(11, 10)]))
    page = Reader(store).page("demo", 3, 18, events_max=12, bytes_max=0, bodies=False)
    assert numbers_of(list(page.spans)) == list(range(3, 15))
    assert page.next == 15


def test_a_span_is_of_neighbours_and_one_status(store_and_writer: tuple[Store, Writer]) -> None:
    """Deferred and pending events come in spans of their own, with their attempts and the deliveries that hold them."""
    store, writer = store_and_writer
    writer.write(Group([replace(numbered(1, 6), admitted=3, rest=EventStatus.DEFERRED), numbered(7, 2)]))
    writer.write(Group([], [outcome(EventStatus.PENDING, [2, 5], attempts=4)]))
    spans = Reader(store).page("demo", 0, 9, events_max=100, bytes_max=HUGE).spans
    shape = [(list(span.numbers), list(span.attempts), span.deferred) for span in spans]
    assert shape == [
        ([1, 2, 3], [0, 4, 0], False),
        ([4], [0], True),
        ([5], [4], False),
        ([6], [0], True),
        ([7, 8], [0, 0], False),
    ]
    assert [(span.numbered.first, span.numbered.end) for span in spans if span.numbered] == [(1, 7)] * 4 + [(7, 9)]


def test_a_span_came_when_its_first_event_came(store_and_writer: tuple[Store, Writer]) -> None:
    """Not when the first delivery of its log record came; known where the deliveries are read."""
    store, writer = store_and_writer
    appends = [
        Append(delivery(1, ["a", "b"], received_at_ms=AT_MS), 1, EventStatus.DEFERRED),
        Append(delivery(3, ["c"], received_at_ms=AT_MS + 5), 0, EventStatus.DEFERRED),
        Append(delivery(4, ["d"], received_at_ms=AT_MS + 7), 1, EventStatus.DEFERRED),
    ]
    writer.write(Group(appends))
    found = Reader(store).spans([1, 2, 3, 4])
    assert [(list(span.numbers), span.received_at_ms - AT_MS) for span in found] == [([1], 0), ([2, 3], 0), ([4], 7)]


def test_deliveries_between_which_one_is_finished_are_apart(store_and_writer: tuple[Store, Writer]) -> None:
    """A span does not bring the body of a delivery of which nothing waits."""
    store, writer = store_and_writer
    bodies = [b"%d" % number for number in range(6)]
    writer.write(Group([Append(singles(1, list("abcdef"), bodies=bodies), 6, EventStatus.DEFERRED)]))
    writer.write(Group([], [outcome(EventStatus.PROCESSED, [1, 4])]))
    spans = Reader(store).page("demo", 0, 7, events_max=100, bytes_max=HUGE).spans
    assert [(list(span.numbers), span.numbered and span.numbered.deliveries.bodies) for span in spans] == [
        ([2, 3], [b"1", b"2"]),
        ([5, 6], [b"4", b"5"]),
    ]


def test_the_walk_is_bounded(store_and_writer: tuple[Store, Writer]) -> None:
    """A source that waits far away is reached in several calls, none of which reads more than a snapshot may."""
    store, writer = store_and_writer
    runs = 300  # sources that alternate, so that each delivery has a log record
    for _ in range(SNAPSHOT_RECORDS_MAX // runs + 1):
        first = writer.next_number
        writer.write(Group([numbered(first + at, 1, source_id=f"s{at % 2}") for at in range(runs)]))
    writer.write(Group([numbered(writer.next_number, 1, source_id="rare")]))
    reader, end = Reader(store), writer.next_number
    start, calls, found = 0, 0, []
    while start < end:
        page = reader.page("rare", start, end, events_max=10, bytes_max=HUGE)
        assert page.next > start
        start, calls = page.next, calls + 1
        found += [number for span in page.spans for number in span.numbers]
    assert found == [end - 1]
    assert calls > 1


def test_spans_of_given_numbers(store_and_writer: tuple[Store, Writer]) -> None:
    """Numbers in any order give the spans of those that still wait; unknown and finished ones give none."""
    store, writer = store_and_writer
    for _ in range(40):
        first = writer.next_number
        writer.write(Group([numbered(first, 20), numbered(first + 20, 5, source_id="other")]))
    writer.write(Group([], [outcome(EventStatus.PROCESSED, [3, 500])]))
    reader = Reader(store)
    asked = [999, 3, 21, 4, 500, 2, 99_999, 0, 502]
    spans = reader.spans(asked)
    assert numbers_of(spans) == [2, 4, 21, 502, 999]
    assert [span.source_id for span in spans] == ["demo", "other", "demo", "other"]
    assert [span.numbered is None for span in reader.spans(asked, bodies=False)] == [True] * len(spans)
    assert reader.spans([]) == []


def test_processed_at_compares_whole_digests(store_and_writer: tuple[Store, Writer]) -> None:
    """The time of an outcome is told where the event with this number has this digest, and nowhere else; one that is
    not in the store yet comes after all that are."""
    store, writer = store_and_writer
    for _ in range(3):
        writer.write(Group([numbered(writer.next_number, 300)]))
    writer.write(Group(changes=[outcome(EventStatus.PROCESSED, [1, 300, 800])]))
    pairs = [(digest("demo", f"id-{number}"), number) for number in (800, 1, 300, 301)]
    wrong = [(digest("demo", "id-5"), 6), (digest("demo", "id-5"), 9999), (digest("demo", "id-5"), 0)]
    done = STORE_MS + 1
    assert Reader(store).processed_at([*wrong, *pairs]) == [None] * 3 + [done, done, done, ON_ITS_WAY]


def test_received_at_is_of_the_first_that_waits(store_and_writer: tuple[Store, Writer]) -> None:
    """The time of the first pending event, not of the first of its record; None where nothing waits."""
    store, writer = store_and_writer
    deliveries = [delivery(number, [f"id-{number}"], received_at_ms=AT_MS + number) for number in range(1, 5)]
    writer.write(Group([Append(stored, 1, EventStatus.DEFERRED) for stored in deliveries]))
    writer.write(Group([], [outcome(EventStatus.PROCESSED, [1, 2])]))
    reader = Reader(store)
    assert reader.received_at("demo", 0) == AT_MS + 3
    assert reader.received_at("demo", 4) == AT_MS + 4
    assert reader.received_at("demo", 5) is None
    assert reader.received_at("other", 0) is None


def test_find_gives_the_processed_first_then_the_newest(store_and_writer: tuple[Store, Writer]) -> None:
    """All events of an id, whatever their status, processed first, then newest first, with error, result and twin."""
    store, writer = store_and_writer
    writer.write(Group([Append(delivery(number, ["same"]), 1, EventStatus.DEFERRED) for number in range(1, 6)]))
    writer.write(Group([numbered(6, 600)]))
    writer.write(Group([Append(delivery(606, ["same"], source_id="other"), 1, EventStatus.DEFERRED)]))
    dead = outcome(EventStatus.DEAD, [1], details={1: b'{"error":"boom"}'}, attempts=12)
    done = outcome(EventStatus.PROCESSED, [2], details={2: b'{"result":[1,2]}'}, attempts=1)
    twins = outcome(EventStatus.DUPLICATE, [3, 4], originals=[2, 2])
    writer.write(Group([], [dead, done, twins]))
    found = Reader(store).find("demo", "same")
    assert [(record.number, record.status) for record in found] == [
        (2, EventStatus.PROCESSED),
        (5, EventStatus.PENDING),
        (4, EventStatus.DUPLICATE),
        (3, EventStatus.DUPLICATE),
        (1, EventStatus.DEAD),
    ]
    assert [record.duplicate_of for record in found] == [None, None, *found[0].numbered.delivery_ids() * 2, None]
    assert [dict(record.detail) for record in found] == [{"result": [1, 2]}, {}, {}, {}, {"error": "boom"}]
    assert [record.attempts for record in found] == [1, 0, 0, 0, 12]
    assert [record.at_ms for record in found] == [AT_MS + 1, 0, AT_MS + 1, AT_MS + 1, AT_MS + 1]
    assert Reader(store).find("demo", "none") == []


def test_find_each_gives_all_newest_first(store_and_writer: tuple[Store, Writer]) -> None:
    """Every event of an id, or every one of a status, from the newest to the oldest, over many blocks and chunks."""
    store, writer = store_and_writer
    for first in range(1, 900, 300):
        writer.write(
            Group([Append(delivery(first, ["same"] * 40), 40, EventStatus.DEFERRED), numbered(first + 40, 260)])
        )
    writer.write(Group([], [outcome(EventStatus.DEAD, [1, 2, 301]), outcome(EventStatus.PROCESSED, [3])]))
    reader = Reader(store)
    expected = [number for first in (601, 301, 1) for number in range(first + 39, first - 1, -1)]
    assert [record.number for record in reader.find_each("demo", "same")] == expected
    assert [record.number for record in reader.find_each("demo", "same", [EventStatus.DEAD])] == [301, 2, 1]
    assert list(reader.find_each("demo", "none")) == []


def test_find_unpacks_no_more_than_it_gives(store_and_writer: tuple[Store, Writer]) -> None:
    """An id that came very often is found by reading few deliveries: the processed one, then the newest."""
    store, writer = store_and_writer
    unpacked: list[int] = []
    for first in range(1, 3000, 300):
        writer.write(Group([Append(delivery(first, ["same"] * 300), 300, EventStatus.DEFERRED)]))
    writer.write(Group([], [outcome(EventStatus.PROCESSED, [7])]))
    writer.write(Group([], [outcome(EventStatus.DUPLICATE, range(300, 3001), originals=[7] * 2701)]))
    original = Snapshot.delivery_of

    def counted(self: Snapshot, number: int, **options: bool) -> NumberedDeliveries | None:
        unpacked.append(number)
        return original(self, number, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Snapshot, "delivery_of", counted)
        found = Reader(store).find("demo", "same", limit=3)
    assert [record.number for record in found] == [7, 3000, 2999]
    assert set(unpacked) == {7, 2999}


def test_many_events_unpack_each_record_once(store_and_writer: tuple[Store, Writer]) -> None:
    """Events that are looked up together are read delivery by delivery, though each is a duplicate of one elsewhere."""
    store, writer = store_and_writer
    for first in (1, 301, 601):
        writer.write(Group([Append(delivery(first, ["same"] * 300), 300, EventStatus.DEFERRED)]))
    writer.write(Group([], [outcome(EventStatus.PROCESSED, [7])]))
    writer.write(Group([], [outcome(EventStatus.DUPLICATE, range(301, 901), originals=[7] * 600)]))
    unpacked: list[bytes] = []

    def counted(key: bytes, *rest: Any) -> NumberedDeliveries:
        unpacked.append(key)
        return decode_log(key, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.read.snapshot.decode_log", counted)
        found = events_of_id(Snapshots(store), "demo", "same", ["demo"])
    assert [event.number for event in found] == [*range(1, 901)]
    assert sorted(unpacked) == sorted([key_of(1), key_of(301), key_of(601), key_of(1), key_of(1)])


def test_a_page_of_dead_ends_after_large_deliveries(
    store_and_writer: tuple[Store, Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the deliveries of dead events, a page holds a bounded number of events, and the pages hold all."""
    monkeypatch.setattr("storage.read.dead.PAGE_EVENTS_MAX", 60)
    store, writer = store_and_writer
    writer.write(Group([numbered(1 + 10 * at, 10) for at in range(12)]))
    writer.write(Group([], [outcome(EventStatus.DEAD, range(1, 121, 10))]))
    pages: list[list[int]] = []
    while page := Reader(store).dead(None, pages[-1][-1] if pages else 0):
        pages.append([record.number for record in page])
    assert pages == [list(range(1, 61, 10)), list(range(61, 121, 10))]


def test_a_digest_across_two_neighbours_is_no_hit(store_and_writer: tuple[Store, Writer]) -> None:
    """Bytes that look like the digest but stand across two of them are not taken for it."""
    store, writer = store_and_writer
    wanted = digest("demo", "id-1")
    writer.write(Group([numbered(1, 3)]))
    packed = b"\0" * 8 + wanted + b"\0" * 8 + wanted
    assert list(places_of(packed, wanted, 1)) == [(2, True)]
    assert [record.number for record in Reader(store).find("demo", "id-1")] == [1]


def test_a_requeued_event_has_no_error_any_more(store_and_writer: tuple[Store, Writer]) -> None:
    """A requeue sets attempts and time to 0 and takes the error away; a second death has its own."""
    store, writer = store_and_writer
    writer.write(Group([numbered(1, 3)]))
    reader = Reader(store)
    errors = {number: b'{"error":"first %d"}' % number for number in (1, 2)}
    writer.write(Group([], [outcome(EventStatus.DEAD, [1, 2], details=errors, attempts=3)]))
    writer.write(Group([], [outcome(EventStatus.PENDING, [1])]))
    (waits,) = reader.find("demo", "id-1")
    assert (waits.status, waits.attempts, waits.at_ms, dict(waits.detail)) == (EventStatus.PENDING, 0, 0, {})
    writer.write(Group([], [outcome(EventStatus.DEAD, [1], details={1: b'{"error":"second"}'}, attempts=1)]))
    assert [record.detail["error"] for record in reader.dead(None)] == ["second", "first 2"]


def test_a_delivery_is_found_by_its_id(store_and_writer: tuple[Store, Writer]) -> None:
    """A delivery's id gives its events in order; another suffix, another number or any other text gives None."""
    store, writer = store_and_writer
    writer.write(Group([numbered(1, 2), numbered(3, 4)]))
    reader = Reader(store)
    [wanted] = delivery(3, ["x"]).delivery_ids()
    found = reader.delivery(wanted)
    assert found is not None
    assert [record.number for record in found] == [3, 4, 5, 6]
    assert all(record.numbered.delivery_ids() == [wanted] for record in found)
    for other in (wanted[:-1] + "z", delivery_id(4, SUFFIX), delivery_id(9999, SUFFIX), "", "\0", "x" * 500):
        assert reader.delivery(other) is None


def test_the_dead_are_listed_in_pages(store_and_writer: tuple[Store, Writer]) -> None:
    """Dead events come in order, page by page, of one source or of all, until an empty page."""
    store, writer = store_and_writer
    for _ in range(10):
        first = writer.next_number
        writer.write(Group([numbered(first, 90), numbered(first + 90, 10, source_id="other")]))
    mine, others = list(range(1, 901, 100)), list(range(95, 1001, 100))
    writer.write(Group([], [outcome(EventStatus.DEAD, mine), outcome(EventStatus.DEAD, others, source_id="other")]))
    reader = Reader(store)

    def pages(source_id: str | None, limit: int) -> list[int]:
        numbers: list[int] = []
        while page := reader.dead(source_id, numbers[-1] if numbers else 0, limit):
            assert len(page) <= limit
            numbers += [record.number for record in page]
        return numbers

    assert pages("demo", 4) == mine
    assert pages("other", 100) == others
    assert pages(None, 7) == sorted(mine + others)
    assert pages("none", 7) == []


def test_the_dead_are_found_in_bulk(store_and_writer: tuple[Store, Writer]) -> None:
    """By number, from any of them on, and by id in one pass; other sources, ids and statuses are left out."""
    store, writer = store_and_writer
    for _ in range(10):
        first = writer.next_number
        writer.write(Group([numbered(first, 90), numbered(first + 90, 10, source_id="other")]))
    mine, others = list(range(1, 901, 100)), list(range(95, 1001, 100))
    writer.write(Group([], [outcome(EventStatus.DEAD, mine), outcome(EventStatus.DEAD, others, source_id="other")]))
    reader = Reader(store)
    assert reader.dead_numbers("demo", 0, 1000) == mine
    assert reader.dead_numbers("demo", 101, 1000) == mine[2:]
    assert reader.dead_numbers("other", 0, 1000) == others
    assert 4 <= len(reader.dead_numbers("demo", 0, 4)) < len(mine)
    assert reader.dead_numbers("demo", mine[-1], 4) == []
    assert reader.dead_of("demo", ["id-1", "id-2", "id-95", "id-801", "nobody"]) == {
        "id-1": [1],
        "id-2": [],
        "id-95": [],
        "id-801": [801],
        "nobody": [],
    }


def test_reading_by_number_is_bounded(store_and_writer: tuple[Store, Writer]) -> None:
    """The first of these events are read, as many as there may be bodies of, and one at least."""
    store, writer = store_and_writer
    for turn in range(3):
        writer.write(Group([Append(delivery(turn + 1, [f"id-{turn}"], body=b"x" * 100), 1, EventStatus.DEFERRED)]))
    reader = Reader(store)
    assert [numbers_of(reader.spans([1, 2, 3], bytes_max=size)) for size in (1, 199, 200, 300)] == [
        [1],
        [1],
        [1, 2],
        [1, 2, 3],
    ]
    assert numbers_of(reader.spans([1, 2, 3], bodies=False, bytes_max=1)) == [1, 2, 3]


def test_processed_since_gives_what_the_index_needs(store_and_writer: tuple[Store, Writer]) -> None:
    """All events processed since a time, with their digests, and nothing else."""
    store, writer = store_and_writer
    for turn in range(20):
        writer.write(Group([numbered(writer.next_number, 100)]))
        done = outcome(EventStatus.PROCESSED, range(turn * 100 + 1, turn * 100 + 51))
        writer.write(Group([], [replace(done, store_ms=STORE_MS + turn)]))
    reader = Reader(store)
    chunks = list(reader.processed_since(STORE_MS + 9))
    numbers = [int(number) for chunk in chunks for number in chunk.numbers]
    assert numbers == [turn * 100 + at for turn in range(10, 20) for at in range(1, 51)]
    packed = b"".join(chunk.digests for chunk in chunks)
    assert packed == b"".join(digest("demo", f"id-{number}") for number in numbers)
    assert max(chunk.newest_ms for chunk in chunks) == STORE_MS + 19
    assert list(reader.processed_since(STORE_MS + 19)) == []


def received(first: int, count: int, store_ms: int) -> Append:
    return replace(numbered(first, count), store_ms=store_ms)


@pytest.mark.parametrize("bodies", [True, False])
def test_a_span_has_one_time_of_receipt(store_and_writer: tuple[Store, Writer], bodies: bool) -> None:
    """Events of one block that came in different minutes are different spans."""
    store, writer = store_and_writer
    for first, store_ms in ((1, 60_000), (4, 60_000), (7, 120_000)):
        writer.write(Group([received(first, 3, store_ms)]))
    spans = fed(Reader(store), "demo", 10, events_max=100, bodies=bodies)
    assert {number: span.store_ms for span in spans for number in span.numbers} == {
        number: 60_000 if number < 7 else 120_000 for number in range(1, 10)
    }


def test_waits_since_is_of_the_first(store_and_writer: tuple[Store, Writer]) -> None:
    """The number and the time of the first event that waits since its receipt; what is requeued is passed over, and the
    end of the store is told if nothing waits."""
    store, writer = store_and_writer
    reader = Reader(store)
    assert reader.waits_since(1) == (1, None)
    for turn in range(4):
        writer.write(Group([received(1 + 300 * turn, 300, 60_000 * (turn + 1))]))
    assert reader.waits_since(1) == (1, 60_000)
    assert reader.waits_since(302) == (302, 120_000)
    writer.write(Group(changes=[outcome(EventStatus.DEAD, range(1, 800))]))
    writer.write(Group(changes=[outcome(EventStatus.PENDING, [5])]))
    assert reader.waits_since(1) == (800, 180_000)
    writer.write(Group(changes=[outcome(EventStatus.PROCESSED, range(800, 1201))]))
    assert reader.waits_since(800) == (1201, None)


def test_all_processed_events_are_counted(store_and_writer: tuple[Store, Writer]) -> None:
    """Those with an outcome after the one time and until the other, in all blocks, are counted."""
    store, writer = store_and_writer
    for turn in range(1, 5):
        writer.write(Group([numbered(writer.next_number, 300)]))
        done = outcome(EventStatus.PROCESSED, range(writer.next_number - 300, writer.next_number - 100))
        writer.write(Group(changes=[replace(done, store_ms=turn)]))
    assert Reader(store).count_processed(1, 3) == 400
    assert Reader(store).count_processed(0, 4) == 800
    assert Reader(store).count_processed(4, 9) == 0


def test_processed_ids_are_found_backward(
    store_and_writer: tuple[Store, Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ids, those that were processed are found with the number; the scan goes on in steps."""
    monkeypatch.setattr(snapshot_module, "SNAPSHOT_RECORDS_MAX", 3)
    store, writer = store_and_writer
    for _ in range(10):
        writer.write(Group([numbered(writer.next_number, 256)]))
    done = [1, 300, 2560]
    writer.write(Group(changes=[outcome(EventStatus.PROCESSED, done)]))
    reader = Reader(store)
    wanted = {digest("demo", f"id-{number}"): number for number in (*done, 2, 10**9)}
    found: dict[bytes, int] = {}
    before, asked = None, 0
    while asked == 0 or before is not None:
        more, before = reader.processed(wanted, before)
        found |= more
        asked += 1
    assert asked > 2
    assert found == {each: number for each, number in wanted.items() if number in done}


def test_processed_since_gives_bounded_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many events a block holds, a chunk ends with the block that fills it."""
    monkeypatch.setattr(processed_module, "PROCESSED_EVENTS_MAX", 600)
    with opened(tmp_path / "store") as (store, writer):
        for _ in range(5):
            numbers = range(writer.next_number, writer.next_number + 500)
            writer.write(Group([numbered(numbers.start, 500)]))
            writer.write(Group([], [outcome(EventStatus.PROCESSED, numbers)]))
        counts = [len(chunk.numbers) for chunk in Reader(store).processed_since(0)]
    assert counts == [1000, 1000, 500]


def test_what_is_read_outlives_the_store(tmp_path: Path) -> None:
    """Nothing that was read points into the map: it is whole after the store is closed."""
    body = b'{"a":"' + b"x" * 100_000 + b'"}'
    with opened(tmp_path / "store") as (store, writer):
        written = writer.write(Group([numbered(1, 5, body=body)]))
        page = Reader(store).page("demo", 0, 6, events_max=10, bytes_max=HUGE)
        found = Reader(store).find("demo", "id-2", bodies=True)
    (span,) = page.spans
    assert span.numbered == found[0].numbered
    assert span.numbered is not None
    assert span.numbered.deliveries.bodies == [body]
    assert span.digests == written.digests[0] == digests_of(span.numbered)


def test_bodies_are_read_only_when_asked_for(store_and_writer: tuple[Store, Writer]) -> None:
    """Without its record of bodies an event is still found; who asks for the bodies hears that they are missing."""
    store, writer = store_and_writer
    writer.write(Group([numbered(1, 2, body=b"[{},{}]"), Append(delivery(3, ["d"], body=b""), 0, EventStatus.DROPPED)]))
    writer.write(Group([Append(delivery(4, ["e"], body=b""), 0, EventStatus.DROPPED)]))
    with store.env.begin(write=True) as txn:
        assert txn.stat(store.facts)["entries"] == 2
        assert txn.stat(store.bodies)["entries"] == 1, "what was dropped whole has none"
        txn.delete(key_of(1), db=store.bodies)
    reader = Reader(store)
    assert [record.numbered.deliveries.bodies for record in reader.find("demo", "id-1")] == [[b""]]
    assert [record.numbered.deliveries.bodies for record in reader.find("demo", "e", bodies=True)] == [[b""]]
    for ask in (lambda: reader.find("demo", "id-1", bodies=True), lambda: reader.spans([1], bodies=True)):
        with pytest.raises(StoreDamaged, match="bodies, key 1: there is no such record"):
            ask()
    assert numbers_of(reader.spans([1], bodies=False)) == [1]


def test_the_first_skipped_event_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each source the first that waits before its number, with what is recorded of it; in short snapshots too."""
    monkeypatch.setattr("storage.read.snapshot.SNAPSHOT_RECORDS_MAX", 1)
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 300), numbered(301, 300, source_id="other")]))
        done = [*range(1, 250), *range(251, 301)]
        tried = outcome(EventStatus.PENDING, [250], attempts=3)
        writer.write(Group([numbered(601, 300, source_id="third")], [outcome(EventStatus.PROCESSED, done), tried]))
        found = Reader(store).skipped({"demo": 601, "other": 301, "third": 700, "nobody": 900})
        assert [(span.source_id, list(span.numbers), list(span.attempts)) for span in found] == [
            ("demo", [250], [3]),
            ("third", [601], [0]),
        ]
        assert Reader(store).skipped({}) == []


def test_a_large_delivery_is_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its body was read, all of its events come, though it exceeds what a page may have; else each of them would
    be a page of its own, and the body read for each."""
    monkeypatch.setattr(scan, "PAGE_BODY_BYTES_MAX", 10)
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([Append(delivery(1, ["a", "b", "c"], body=b"[{},{},{},{}]"), 3, EventStatus.DEFERRED)]))
        for oldest_first, expected in ((True, [1, 2, 3]), (False, [3, 2, 1])):
            page = Reader(store).select(EventQuery(oldest_first=oldest_first), bodies=True)
            assert [record.number for record in page.records] == expected


def test_a_page_reads_no_further_than_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows gets a few events at a time, and each time what is behind them is left alone."""
    with opened(tmp_path / "store") as (store, writer):
        for number in range(1, 31):
            writer.write(Group([numbered(number, 1)]))
        read: list[bytes] = []

        def decode(key: bytes, value: bytes) -> LogHead:
            read.append(key)
            return decode_log_head(key, value)

        monkeypatch.setattr(snapshot_module, "decode_log_head", decode)
        page = Reader(store).select(EventQuery(oldest_first=True, after=3), events_max=2)
        assert [record.number for record in page.records] == [4, 5]
        assert max(read) <= key_of(6)
