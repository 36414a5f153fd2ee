"""storage/codec: what is written is read back, and nothing else is."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy
import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from storage.codec import records
from storage.codec.columns import encode_columns
from storage.codec.log_record import (
    LOG_RECORD_BYTES_MAX,
    decode_log,
    decode_log_head,
    encode_log,
    split_log,
)
from storage.codec.pieces import (
    IN_PIECES_BYTES_MAX,
    PIECE_BYTES_MAX,
    PIECES_MAX,
    SHARED_PAGE_BYTES_MAX,
    in_pieces,
    piece_key,
    record_key,
)
from storage.codec.records import RESULTS_RECORD_BYTES_MAX, key_of
from storage.codec.status_rows import ROW, BlockChange, apply, decode_statuses, encode_statuses, new_rows
from storage.deliveries import PAYLOAD_KEY, WHOLE_ITEM, Deliveries, NumberedDeliveries, merged
from storage.delivery_id import delivery_id, first_of
from storage.errors import IllegalStatusChange, StoreDamaged
from storage.journal.records import Journaled
from storage.model import Append
from storage.statuses import EventStatus, Totals
from tests.support.store import AT_MS, STORE_MS, SUFFIX, changed, delivery, numbered, outcome, random_ids, singles

KEY = key_of(7)
TOTALS = Totals(received=9, requeued=1, processed=4, dead=2, pending=4, oldest=3)
PACK = zstandard.ZstdCompressor(level=1)
UNPACK = zstandard.ZstdDecompressor()


def log_record(*deliveries: NumberedDeliveries) -> tuple[bytes, bytes | None]:
    return encode_log(merged(deliveries), PACK)


FACTS, BODIES = log_record(delivery(7, ["a", None]), singles(9, ["c", None], bodies=[b"{}", b"[]"]))
assert BODIES is not None

SOME_DROPPED = Append(delivery(1, list("abcdefghi")), 4, EventStatus.DROPPED)

AT_EIGHT, _ = log_record(delivery(8, ["a", None]), singles(10, ["c", None], bodies=[b"{}", b"[]"]))

KINDS: dict[str, tuple[bytes, Callable[[bytes, bytes], object]]] = {
    "ids": (records.encode_ids(KEY, bytes(range(64))), records.decode_ids),
    "body_digests": (records.encode_body_digests(KEY, bytes(range(64))), records.decode_body_digests),
    "statuses": (encode_statuses(KEY, new_rows([SOME_DROPPED])), decode_statuses),
    "results": (records.encode_results(KEY, {7: b'{"result":1}', 9: b'{"error":"x"}'}), records.decode_results),
    "facts": (FACTS, lambda key, value: decode_log(key, value, None, UNPACK)),
    "bodies": (BODIES, lambda key, value: decode_log(key, FACTS if key == KEY else AT_EIGHT, value, UNPACK)),
    "meta": (records.encode_totals(KEY, TOTALS), records.decode_totals),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_bit_is_found(kind: str) -> None:
    """A value with any one bit changed raises StoreDamaged, which names the database and the key."""
    value, decode = KINDS[kind]
    decode(KEY, value)
    for place in range(len(value) * 8):
        flipped = bytearray(value)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(StoreDamaged, match=rf"^{kind}, key "):
            decode(KEY, bytes(flipped))


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_found(kind: str) -> None:
    """A value that ends early, at any byte, raises StoreDamaged."""
    value, decode = KINDS[kind]
    for length in range(len(value)):
        with pytest.raises(StoreDamaged):
            decode(KEY, value[:length])


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_at_another_key_is_found(kind: str) -> None:
    """The checksum covers the key: a value that stands at another one raises StoreDamaged."""
    value, decode = KINDS[kind]
    with pytest.raises(StoreDamaged):
        decode(key_of(8), value)


def test_a_value_in_another_database_is_found() -> None:
    """The checksum covers the database's name."""
    with pytest.raises(StoreDamaged, match="statuses, key 7"):
        decode_statuses(KEY, KINDS["ids"][0])


TEXTS = st.sampled_from(["", "a", "ü☃", "x" * 40]) | st.text(max_size=5)
SETS = st.lists(
    st.builds(
        lambda ids, body, header, rejected, when: (ids, body, header, rejected, when),
        st.lists(st.none() | TEXTS, min_size=1, max_size=20),
        st.binary(max_size=9),
        TEXTS,
        st.lists(st.integers(0, 9), max_size=2),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=20,
)


def numbered_set(parts: list[Any], kind: str) -> list[NumberedDeliveries]:
    """Deliveries that follow one another from number 7 on, alike or not in every column."""
    made: list[NumberedDeliveries] = []
    for ids, body, header, rejected, when in parts:
        one = changed(
            delivery(made[-1].end if made else 7, ids, body=body, source_type=kind, received_at_ms=AT_MS + when),
            headers=[{"user-agent": header}],
            remote_addrs=[header],
            sent_at=[header or None],
            rejected=[[(index, "invalid_event", header) for index in rejected]],
            batch_sizes=[len(ids) + len(rejected)],
            indexes=list(range(when, when + len(ids))),
            types=[f"{header}{at % 2}" for at in range(len(ids))],
            provider_ids=[None if at % 3 else header for at in range(len(ids))] if when else list(ids),
            payload_from=[WHOLE_ITEM if at % 2 else PAYLOAD_KEY for at in range(len(ids))],
        )
        made.append(one)
    hashed = parts[0][4] == 3  # all of one record, or none
    return [changed(one, body_hashes=[f"{one.first % 3:032x}"]) for one in made] if hashed else made


@given(SETS, st.sampled_from(["webhook", "segment"]))
def test_deliveries_are_read_back_as_they_were(parts: list[Any], kind: str) -> None:
    """Every column and body survives, whatever is alike in it; without the bodies' value each body is empty."""
    made = numbered_set(parts, kind)
    whole = merged(made)
    facts, bodies = encode_log(whole, PACK)
    assert as_lists(decode_log(KEY, facts, bodies, UNPACK)) == as_lists(whole)
    bare = changed(whole, bodies=[b""] * len(made))
    assert as_lists(decode_log(KEY, facts, None, UNPACK)) == as_lists(bare)
    assert (bodies is None) == (whole.deliveries.size == 0)


@given(SETS, st.data())
def test_parts_of_a_whole_are_what_was_merged(parts: list[Any], data: st.DataObject) -> None:
    """Merging loses nothing: each part has the events, ids, digests and bodies that it had alone."""
    made = numbered_set(parts, "webhook")
    whole = merged(made)
    assert [as_lists(whole.part(at, at + 1)) for at in range(len(made))] == [as_lists(one) for one in made]
    assert whole.delivery_ids() == [identity for one in made for identity in one.delivery_ids()]
    assert list(whole.firsts()) == [one.first for one in made]
    assert list(whole.event_ids()) == [each for one in made for each in one.event_ids()]
    assert [whole.event_id(at) for at in range(whole.count)] == list(whole.event_ids())
    assert records.digests_of(whole) == b"".join(map(records.digests_of, made))
    assert records.body_digests_of(whole) == b"".join(map(records.body_digests_of, made))
    low = data.draw(st.integers(7, whole.end - 1))
    high = data.draw(st.integers(low, whole.end - 1))
    held = [one for one in made if one.first <= high and one.end > low]
    assert as_lists(whole.holding(low, high)) == as_lists(merged(held))


def as_lists(numbered: NumberedDeliveries) -> list[object]:
    """First number, suffix and columns, whatever kind of sequence holds them."""
    columns = [getattr(numbered.deliveries, name) for name in Deliveries.__annotations__]
    lists = [list(column) if isinstance(column, Sequence) else column for column in columns]
    lists[8] = [list(each) for each in numbered.deliveries.rejected]
    return [numbered.first, numbered.suffix, *lists]


def test_delivery_and_event_ids_follow_from_the_numbers() -> None:
    """A delivery is named after its first event, and an event without an id after its delivery and its index."""
    whole = merged([delivery(7, ["a", None]), delivery(9, [None]), changed(delivery(10, [None]), indexes=[3])])
    first, second, third = (delivery_id(number, SUFFIX) for number in (7, 9, 10))
    assert whole.delivery_ids() == [first, second, third]
    assert whole.event_ids() == ["a", f"{first}-1", f"{second}-0", f"{third}-3"]


def test_facts_of_other_bodies_are_found() -> None:
    """Bodies that belong to other facts do not decode: a record of another length, or another stream."""
    _, other = encode_log(delivery(7, ["a", "b"], body=b"[1,2,3]"), PACK)
    with pytest.raises(StoreDamaged, match="facts, key 7"):
        decode_log(KEY, FACTS, other, UNPACK)


def test_a_sealed_head_of_no_source_is_damaged() -> None:
    """A head whose checksum is right and whose source id is not text is damaged, and says where."""
    head = records.seal(b"facts", key_of(1), struct.pack("<BIQIII", 1, 1, 0, 0, 0, 0) + b"\xb5")
    with pytest.raises(StoreDamaged, match="facts, key 1: the head is inconsistent"):
        decode_log_head(key_of(1), head)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\1\0\0\0", bytes(40), b"\0\0\0\0" + struct.pack("<II", 0, 0)],
    ids=["empty", "cut", "zeros", "no appends"],
)
def test_a_journaled_record_of_nothing_is_damaged(payload: bytes) -> None:
    """A record of the journal whose checksum is right and which does not decode is damaged, and says where."""
    with pytest.raises(StoreDamaged):
        Journaled(4096, b"s" * 8, b"r" * 8, 1, 2, payload).appends()


def test_a_delivery_without_a_body_takes_no_record() -> None:
    """What was dropped with all of its delivery has facts, and nothing among the bodies."""
    assert log_record(delivery(7, ["a"], body=b""))[1] is None


def test_random_ids_are_packed_once() -> None:
    """An id that stands in the facts and in the body takes its place once, however many there are."""
    ids = random_ids(1000)
    bodies = [b'{"type":"track","messageId":"%b"}' % each.encode() for each in ids]
    facts, packed = encode_log(singles(7, ids, bodies=bodies), PACK)
    assert packed is not None
    assert len(packed) < len(facts) < 1000 * 20


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (1, 1),
        (SHARED_PAGE_BYTES_MAX, 1),
        (SHARED_PAGE_BYTES_MAX + 1, 2),
        (PIECE_BYTES_MAX * 3, 3),
        (PIECE_BYTES_MAX * 3 + 1, 4),
        (IN_PIECES_BYTES_MAX, PIECES_MAX),
        (IN_PIECES_BYTES_MAX + 1, 1),
    ],
)
def test_values_that_waste_a_page_are_split(size: int, count: int) -> None:
    """Pieces are of nearly one size, ascend, belong to their record's key, and are the value again when joined."""
    value = bytes(at % 251 for at in range(size))
    pieces = list(in_pieces(KEY, value))
    keys = [key for key, _ in pieces]
    assert b"".join(piece for _, piece in pieces) == value
    assert keys == sorted(keys)
    assert keys == [piece_key(KEY, place) for place in range(count)]
    assert {record_key(key) for key in keys} == {KEY}
    assert keys[-1] < key_of(8)
    assert max(len(piece) for _, piece in pieces) - min(len(piece) for _, piece in pieces) < count


def test_the_head_tells_source_and_events() -> None:
    """The head of a log record decodes from its first bytes alone."""
    value, _ = log_record(delivery(7, ["a", "b"], source_id="s" * 64), delivery(9, ["c"], source_id="s" * 64))
    head = decode_log_head(KEY, value[:200])
    assert (head.first, head.source_id, head.count, head.end) == (7, "s" * 64, 3, 10)


def test_deliveries_of_a_source_share_a_record() -> None:
    """A record holds neighbours of one source, type and suffix up to LOG_RECORD_BYTES_MAX, and one delivery of any
    size."""
    half = b"x" * (LOG_RECORD_BYTES_MAX // 2)
    parts = [
        delivery(1, ["a"], body=half),
        delivery(2, ["b"], body=half),
        delivery(3, ["c"], body=b"y"),
        delivery(4, ["d"], body=half * 5),
        delivery(5, ["e"], source_id="other"),
        delivery(6, ["f"]),
        delivery(7, ["g"], source_type="segment"),
        replace(delivery(8, ["h"], source_type="segment"), suffix="zzzzzz"),
    ]
    assert [list(record.firsts()) for record in split_log(parts)] == [[1, 2], [3], [4], [5], [6], [7], [8]]


def test_details_are_split_by_size() -> None:
    """A results record holds up to RESULTS_RECORD_BYTES_MAX of details, and one of any size."""
    big = b"x" * (RESULTS_RECORD_BYTES_MAX // 2)
    chunks = list(records.split_results([(1, big), (2, big), (3, b"x"), (4, big * 3), (5, b"")]))
    assert [list(chunk) for chunk in chunks] == [[1, 2], [3], [4], [5]]


def test_totals_are_read_back() -> None:
    """Every field of the totals survives; counters that were added since they were written are 0, or follow from the
    others: whoever was dead then and was not given back is dead now."""
    value = records.encode_totals(KEY, TOTALS)
    assert records.decode_totals(KEY, value) == TOTALS
    older = records.seal(b"meta", KEY, struct.pack("<10Q", 3, 9, 1, 0, 4, 0, 0, 2, 4, 0))
    assert records.decode_totals(KEY, older) == replace(TOTALS, dead_now=1)
    died = records.seal(b"meta", KEY, struct.pack("<15Q", 3, 9, 2, 0, 4, 0, 0, 7, 0, 0, 0, 0, 0, 0, 1))
    assert records.decode_totals(KEY, died).dead_now == 7 - 2 - 1
    payload = records.unseal(b"meta", KEY, value)
    for wrong in (payload[:-1], payload + bytes(8)):
        with pytest.raises(StoreDamaged):
            records.decode_totals(KEY, records.seal(b"meta", KEY, wrong))


def test_a_digest_is_of_source_and_id() -> None:
    """The digests of a delivery are those of its ids, generated ones included, and differ by source."""
    stored = delivery(7, ["a", None])
    expected = records.digest("demo", "a") + records.digest("demo", f"{stored.delivery_ids()[0]}-1")
    assert records.digests_of(stored) == expected
    assert records.digest("demo", "a") != records.digest("other", "a")


def test_body_digests_are_of_source_body_and_place() -> None:
    """An event's differs by the source, by the body and by its index, and is no id's; without a hash there is none."""
    hashed = [delivery(7, ["a", "b"], source_id=source_id, body_hash=each) for source_id in "st" for each in ("1", "2")]
    digests = [each for one in hashed for each in records.split_digests(records.body_digests_of(one))]
    ids = [records.digest(source_id, f"{each}\0{at}") for source_id in "st" for each in "12" for at in range(2)]
    assert len({*digests, *ids}) == 16
    assert records.body_digests_of(delivery(9, ["x", "y"], source_id="s", body_hash="1")) == b"".join(digests[:2])
    assert records.body_digests_of(delivery(7, ["a"])) == b""


def test_facts_without_hashes_have_no_such_column() -> None:
    """Where equal bodies are nothing, the facts are what they were before there were hashes."""
    plain, hashed = delivery(7, ["a"]), delivery(7, ["a"], body_hash="5" * 32)
    columns = [orjson.loads(encode_columns(each)) for each in (plain, hashed)]
    assert [len(each) for each in columns] == [19, 20]
    assert columns[1][19] == "5" * 32
    assert len(list(split_log([plain, changed(hashed, source_id="demo")]))) == 2


@given(st.integers(0, (1 << 64) - 1), st.text("abcdef234567", min_size=1, max_size=6))
def test_a_delivery_id_holds_its_first_number(first: int, suffix: str) -> None:
    """first_of undoes delivery_id, and ids sort as numbers do."""
    identity = delivery_id(first, suffix)
    assert first_of(identity) == first
    assert first == 0 or delivery_id(first - 1, suffix) < identity


@given(st.text(max_size=24))
def test_any_text_is_a_delivery_id_or_none(text: str) -> None:
    """first_of never raises, and gives no number beyond 64 bits."""
    first = first_of(text)
    assert first is None or 0 <= first < 1 << 64


ROWS = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.integers(0, 3),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(-2, 2),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=40,
)


@given(ROWS)
def test_rows_are_read_back_whatever_their_runs(values: list[tuple[int, ...]]) -> None:
    """Run-length encoding loses nothing."""
    rows = numpy.array(values, ROW)
    assert decode_statuses(KEY, encode_statuses(KEY, rows)).tolist() == rows.tolist()


def test_rows_without_a_history_are_read() -> None:
    """A block that was written before rows had a history is read as one of events that have none."""
    row = struct.pack("<IIQQq", EventStatus.DEAD, 3, AT_MS, STORE_MS, 7)
    for counts in ([2], [2, 1]):
        runs = struct.pack("<I", len(counts)) + struct.pack(f"<{len(counts)}I", *counts) + row * len(counts)
        rows = decode_statuses(KEY, records.seal(b"statuses", KEY, runs))
        assert rows.tolist() == [(EventStatus.DEAD, 3, AT_MS, STORE_MS, 7, 0)] * sum(counts)


@pytest.mark.parametrize("numbers", [[2], [1, 2, 3]], ids=["one", "many"])
def test_a_row_keeps_its_history(numbers: list[int]) -> None:
    """Once an event died its history stays, whatever comes; its error until it is given back, or for good if not."""
    rows = new_rows([numbered(1, 3)])
    given = numpy.asarray([5] * len(numbers))
    steps = (
        (outcome(EventStatus.PENDING, numbers, attempts=1), given, None, (5, 0)),
        (outcome(EventStatus.PENDING, numbers, attempts=1), None, None, (5, 0)),
        (outcome(EventStatus.DEAD, numbers, attempts=2), given + 1, None, (6, 0)),
        (outcome(EventStatus.PENDING, numbers), None, given + 2, (0, 7)),
        (outcome(EventStatus.DEAD, numbers, attempts=3), given + 3, None, (8, 7)),
        (outcome(EventStatus.DISCARDED, numbers), None, given + 4, (8, 9)),
    )
    for change, refs, histories, expected in steps:
        apply(rows, 1, BlockChange(change, 0, len(numbers), refs, histories))
        assert {(int(rows["ref"][each - 1]), int(rows["history"][each - 1])) for each in numbers} == {expected}
    assert {int(rows["attempts"][each - 1]) for each in numbers} == {3}


def test_a_batch_of_one_fate_is_one_run() -> None:
    """A thousand events that went the same way, or that repeat another batch, take the bytes of one."""
    rows = new_rows([numbered(1, 1000)])
    alone = len(encode_statuses(KEY, rows[:1]))
    assert len(encode_statuses(KEY, rows)) == alone
    resent = outcome(EventStatus.DUPLICATE, range(2001, 3001), originals=range(1, 1001))
    distances = numpy.asarray(resent.numbers) - numpy.asarray(resent.originals)
    apply(rows, 2001, BlockChange(resent, 0, 1000, distances, None))
    assert len(encode_statuses(KEY, rows)) == alone


@pytest.mark.parametrize("had", EventStatus)
@pytest.mark.parametrize("becomes", EventStatus)
def test_only_a_pending_event_may_have_an_outcome(had: EventStatus, becomes: EventStatus) -> None:
    """Pending may become anything but deferred again, dead may become pending or discarded, and nothing else may
    change."""
    rows = numpy.zeros(3, ROW)
    rows["status"] = had
    waits = had in (EventStatus.PENDING, EventStatus.DEFERRED)
    acted_upon = had == EventStatus.DEAD and becomes in (EventStatus.PENDING, EventStatus.DISCARDED)
    impossible = becomes == EventStatus.DISCARDED or (had == EventStatus.PENDING and becomes == EventStatus.DEFERRED)
    legal = acted_upon or (waits and not impossible)
    part = BlockChange(outcome(becomes, [5]), 0, 1, None, None)
    if legal:
        assert apply(rows, 4, part) == [int(status is had) for status in EventStatus]
        assert rows["status"].tolist() == [had, becomes, had]
    else:
        with pytest.raises(IllegalStatusChange, match=f"demo: {becomes.name} cannot follow {had.name}"):
            apply(rows, 4, part)


@pytest.mark.parametrize("numbers", [[2], [1, 2, 3]], ids=["one", "many"])
def test_a_pending_row_keeps_its_receipt(numbers: list[int]) -> None:
    """A failed attempt leaves the time of the receipt; an outcome has its own, and a requeue leaves none."""
    rows = new_rows([Append(delivery(1, list("abc")), 3, EventStatus.DEFERRED, 60_000)])
    changes = (
        (outcome(EventStatus.PENDING, numbers, attempts=1), 60_000),
        (outcome(EventStatus.DEAD, numbers), STORE_MS + 1),
        (outcome(EventStatus.PENDING, numbers), 0),
    )
    for change, expected in changes:
        apply(rows, 1, BlockChange(change, 0, len(numbers), None, None))
        assert {int(rows["store_ms"][number - 1]) for number in numbers} == {expected}


def test_numbers_of_outcomes_must_ascend() -> None:
    """An outcome that names an event twice is our bug."""
    with pytest.raises(IllegalStatusChange):
        apply(new_rows([numbered(1, 3)]), 1, BlockChange(outcome(EventStatus.DEAD, [2, 2]), 0, 2, None, None))
