"""storage/codec: what is written is read back, and nothing else is."""

from collections.abc import Callable
from dataclasses import fields

import numpy
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from storage.codec import records
from storage.codec.log_record import LOG_RECORD_BYTES_MAX, decode_log, decode_log_head, encode_log, split_log
from storage.codec.records import RESULTS_RECORD_BYTES_MAX, key_of
from storage.codec.singles import deliveries
from storage.codec.statuses import ROW, Part, apply, decode_statuses, encode_statuses, new_rows
from storage.errors import IllegalOutcome, StoreDamaged
from storage.model import Append, EventStatus, Facts, Singles, Stored, Totals
from tests.support.store import delivery, numbered, outcome, singles

KEY = key_of(7)
TOTALS = Totals(received=9, requeued=1, processed=4, dead=2, pending=4, oldest=3)
PACK = zstandard.ZstdCompressor(level=1)
UNPACK = zstandard.ZstdDecompressor()


def log_record(*deliveries: Stored | Singles) -> bytes:
    return encode_log(deliveries, PACK)


SOME_DROPPED = Append(delivery(1, list("abcdefghi")), 4, EventStatus.DROPPED)

KINDS: dict[str, tuple[bytes, Callable[[bytes, bytes], object]]] = {
    "ids": (records.encode_ids(KEY, bytes(range(64))), records.decode_ids),
    "statuses": (encode_statuses(KEY, new_rows([SOME_DROPPED])), decode_statuses),
    "results": (records.encode_results(KEY, {7: b'{"result":1}', 9: b'{"error":"x"}'}), records.decode_results),
    "log": (log_record(delivery(7, ["a", None])), lambda key, value: decode_log(key, value, UNPACK)),
    "singles": (log_record(singles(7, ["a", None])), lambda key, value: decode_log(key, value, UNPACK)),
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
        with pytest.raises(StoreDamaged, match=rf"^{'log' if kind == 'singles' else kind}, key "):
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


def test_a_delivery_is_read_back_as_it_was() -> None:
    """Everything in the facts and the body survives the log record, in records of one and of many deliveries."""
    one = delivery(7, ["a", None, "ü☃"], body=b"\x00\xff body")
    other = delivery(10, [None, None], body=b"")
    assert decode_log(KEY, log_record(one, other), UNPACK) == [one, other]


FACTS = [field.name for field in fields(Facts)]


def test_facts_that_differ_are_read_back() -> None:
    """What is alike is folded in the record, and what differs is not."""
    stored = delivery(7, ["a", "b", "b"])
    facts = stored.facts
    mixed = type(facts)(
        **{name: getattr(facts, name) for name in FACTS}
        | {
            "types": ["x", "y", "x"],
            "provider_ids": [None, "b", "c"],
            "indexes": [0, 2, 3],
            "rejected": [(1, "invalid_event", "no object")],
            "sent_at": "2026-01-01T00:00:00Z",
        }
    )
    changed = Stored(7, stored.id, mixed, b"[]")
    assert decode_log(KEY, log_record(changed), UNPACK) == [changed]


def test_the_head_tells_source_and_events() -> None:
    """The head of a log record decodes from its first bytes alone."""
    value = log_record(delivery(7, ["a", "b"], source_id="s" * 64), delivery(9, ["c"], source_id="s" * 64))
    head = decode_log_head(KEY, value[:200])
    assert (head.first, head.source_id, head.count, head.end) == (7, "s" * 64, 3, 10)


def test_deliveries_of_a_source_share_a_record() -> None:
    """A record holds neighbours of one source up to LOG_RECORD_BYTES_MAX, and one delivery of any size."""
    half = b"x" * (LOG_RECORD_BYTES_MAX // 2)
    parts = [
        delivery(1, ["a"], body=half),
        delivery(2, ["b"], body=half),
        delivery(3, ["c"], body=b"y"),
        delivery(4, ["d"], body=half * 5),
        delivery(5, ["e"], source_id="other"),
        delivery(6, ["f"]),
    ]
    assert [[stored.first for stored in run] for run in split_log(parts)] == [[1, 2], [3], [4], [5], [6]]


@given(st.lists(st.lists(st.tuples(st.none() | st.sampled_from("abc"), st.binary(max_size=9)), min_size=1), min_size=1))
def test_single_events_are_read_back_as_deliveries(parts: list[list[tuple[str | None, bytes]]]) -> None:
    """Between others in one record, each with its own number, id, facts and body; and with the digests it has alone."""
    written: list[Stored | Singles] = []
    expected: list[Stored] = []
    first = 7
    for part in parts:
        together = singles(first, [event_id for event_id, _ in part], bodies=[body for _, body in part])
        alone = delivery(first + together.count, ["x", "y"])
        written += [together, alone]
        expected += [*deliveries(together), alone]
        assert records.digests_of(together) == b"".join(map(records.digests_of, deliveries(together)))
        first += together.count + 2
    found = decode_log(key_of(7), log_record(*written), UNPACK)
    assert [(stored.first, stored.id, stored.body) for stored in found] == [
        (stored.first, stored.id, stored.body) for stored in expected
    ]
    assert [listed(stored.facts) for stored in found] == [listed(stored.facts) for stored in expected]
    assert [stored.id for stored in expected] == [records.delivery_id(stored.first, "abcdef") for stored in expected]


def listed(facts: Facts) -> list[object]:
    values = [getattr(facts, field.name) for field in fields(facts)]
    return [list(value) if isinstance(value, tuple) else value for value in values]


def test_details_are_split_by_size() -> None:
    """A results record holds up to RESULTS_RECORD_BYTES_MAX of details, and one of any size."""
    big = b"x" * (RESULTS_RECORD_BYTES_MAX // 2)
    chunks = list(records.split_results([(1, big), (2, big), (3, b"x"), (4, big * 3), (5, b"")]))
    assert [list(chunk) for chunk in chunks] == [[1, 2], [3], [4], [5]]


def test_totals_are_read_back() -> None:
    """Every field of the totals survives."""
    assert records.decode_totals(KEY, records.encode_totals(KEY, TOTALS)) == TOTALS


def test_a_digest_is_of_source_and_id() -> None:
    """The digests of a delivery are those of its ids, generated ones included, and differ by source."""
    stored = delivery(7, ["a", None])
    expected = records.digest("demo", "a") + records.digest("demo", f"{stored.id}-1")
    assert records.digests_of(stored) == expected
    assert records.digest("demo", "a") != records.digest("other", "a")


@given(st.integers(0, (1 << 64) - 1), st.text("abcdef234567", min_size=1, max_size=6))
def test_a_delivery_id_holds_its_first_number(first: int, suffix: str) -> None:
    """first_of undoes delivery_id, and ids sort as numbers do."""
    identity = records.delivery_id(first, suffix)
    assert records.first_of(identity) == first
    assert first == 0 or records.delivery_id(first - 1, suffix) < identity


@given(st.text(max_size=24))
def test_any_text_is_a_delivery_id_or_none(text: str) -> None:
    """first_of never raises, and gives no number beyond 64 bits."""
    first = records.first_of(text)
    assert first is None or 0 <= first < 1 << 64


ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2), st.integers(-2, 2)), min_size=1, max_size=40
)


@given(ROWS)
def test_rows_are_read_back_whatever_their_runs(values: list[tuple[int, int, int, int]]) -> None:
    """Run-length encoding loses nothing."""
    rows = numpy.array(values, ROW)
    assert decode_statuses(KEY, encode_statuses(KEY, rows)).tolist() == rows.tolist()


def test_a_batch_of_one_fate_is_one_run() -> None:
    """A thousand events that went the same way, or that repeat another batch, take the bytes of one."""
    rows = new_rows([numbered(1, 1000)])
    alone = len(encode_statuses(KEY, rows[:1]))
    assert len(encode_statuses(KEY, rows)) == alone
    resent = outcome(EventStatus.DUPLICATE, range(2001, 3001), originals=range(1, 1001))
    distances = numpy.asarray(resent.numbers) - numpy.asarray(resent.originals)
    apply(rows, 2001, Part(resent, 0, 1000, distances))
    assert len(encode_statuses(KEY, rows)) == alone


@pytest.mark.parametrize("had", EventStatus)
@pytest.mark.parametrize("becomes", EventStatus)
def test_only_a_pending_event_may_have_an_outcome(had: EventStatus, becomes: EventStatus) -> None:
    """Pending may become anything but deferred again, dead may become pending, and nothing else may change."""
    rows = numpy.zeros(3, ROW)
    rows["status"] = had
    waits, requeued = (
        had in (EventStatus.PENDING, EventStatus.DEFERRED),
        (had, becomes) == (EventStatus.DEAD, EventStatus.PENDING),
    )
    legal = requeued or (waits and not (had == EventStatus.PENDING and becomes == EventStatus.DEFERRED))
    part = Part(outcome(becomes, [5]), 0, 1, None)
    if legal:
        change = apply(rows, 4, part)
        assert (change.dead, change.first_dead) == ((1, 5) if requeued else (0, None))
        assert rows["status"].tolist() == [had, becomes, had]
    else:
        with pytest.raises(IllegalOutcome):
            apply(rows, 4, part)


def test_numbers_of_outcomes_must_ascend() -> None:
    """An outcome that names an event twice is our bug."""
    with pytest.raises(IllegalOutcome):
        apply(new_rows([numbered(1, 3)]), 1, Part(outcome(EventStatus.DEAD, [2, 2]), 0, 2, None))
