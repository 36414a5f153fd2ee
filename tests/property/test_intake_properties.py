"""Intake under any input: a reading or a refusal from the closed list, readable for ever, and numbers that add up."""

import gzip
import math
import zlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from server.base.refusal import STATUS, Refusal
from server.base.source import FieldPath, Source
from server.intake.events import build_events
from server.intake.handshakes import Handshake
from server.intake.headers import scan
from server.intake.intake import DeliveryHead, IntakeLimits, admit, answer_body, read
from server.intake.rate_limit import Gcra
from server.intake.read_many import read_many
from server.intake.signatures import claims_of
from storage.deliveries import Deliveries, NumberedDeliveries
from storage.statuses import EventStatus

LIMITS = IntakeLimits(body_bytes_max=1 << 20, decoded_bytes_max=20_000, json_containers_max=2_000, batch_events_max=8)
FIELDS = "inbound_event_id source_config_id source_type provider_event_id event_type received_at payload headers meta"
EVENT_COLUMNS = ("ids", "id_from", "provider_ids", "types", "payload_from", "unsigned")
SECOND = 1_000_000_000
NOW_MS = 1_782_907_200_123

texts = st.text() | st.sampled_from(["cut", "a cut"])
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
ids = (
    st.text(max_size=5)
    | st.sampled_from(["cut"])
    | st.integers(-1, 2**64 - 1)
    | st.sampled_from(["x" * 512, "é" * 257])
    | values
)
types = st.sampled_from(["track", "identify", "page", "screen", "group", "alias", "other"]) | values
items = st.fixed_dictionaries(
    {},
    optional={
        "inbound_event_id": ids,
        "provider_event_id": ids,
        "id": ids,
        "messageId": ids,
        "type": types,
        "event_type": types,
        "payload": values,
        "context": values,
        "integrations": values,
        "sentAt": values,
    },
)
batches = st.lists(items | values, max_size=10)
segment_batches = st.builds(lambda item, batch: {**item, "batch": batch}, items, batches | values)
plain_batches = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["track", "page"]), "messageId": st.text(min_size=1)}), min_size=1
)
documents = items | batches | segment_batches | plain_batches.map(lambda batch: {"batch": batch}) | values
deep = st.builds(
    lambda left, count: left[0] * count + b"1" + left[1] * count,
    st.sampled_from([(b"[", b"]"), (b'{"payload":', b"}"), (b'{"type":"page","context":', b"}")]),
    st.integers(240, 1100),
)
as_senders_write = st.builds(
    lambda document, mark, half: mark + orjson.dumps(document).replace(b"cut", half),
    documents,
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.sampled_from([b"cut", rb"\ud83d", rb"\uDE00\\", rb"\ufffd"]),
)
bodies = documents.map(orjson.dumps) | as_senders_write | st.binary(max_size=200) | st.text().map(str.encode) | deep


def deflated(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


ENCODINGS = [
    (None, bytes),
    (b"gzip", gzip.compress),
    (b"x-gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
    (b"deflate", zlib.compress),
    (b"deflate", deflated),
    (b"zstd", zstandard.compress),
    (b"zstd", lambda data: zstandard.compress(data[:5]) + zstandard.compress(data[5:])),
]
encodings = st.sampled_from(ENCODINGS)

names = st.sampled_from(
    [
        b"content-type",
        b"user-agent",
        b"content-encoding",
        b"webhook-id",
        b"svix-id",
        b"idempotency-key",
        b"x-a",
        b"x-convertmax-signature",
    ]
)
header_values = st.binary(max_size=20) | st.sampled_from(
    [b"gzip", b"deflate", b"zstd", b"application/x-www-form-urlencoded", b"id-1", b"x" * 600]
)
headers = st.lists(st.tuples(names | st.binary(max_size=8).map(bytes.lower), header_values), max_size=6)
plain_headers = st.lists(st.tuples(st.sampled_from([b"user-agent", b"webhook-id", b"x-a"]), header_values), max_size=4)

PATHS = (FieldPath("body.payload.id", b"", ("payload", "id")), FieldPath("header.x-note", b"x-note"))
sources = st.builds(
    Source,
    id=st.just("s"),
    type=st.sampled_from(["webhook", "segment"]),
    token_digests=st.just(()),
    signing_keys=st.sampled_from([(), (), (), (b"k",)]),
    event_id_from=st.sampled_from([(), (), PATHS, PATHS[::-1]]),
    event_type_from=st.sampled_from([(), (), PATHS]),
    event_type_override=st.sampled_from(["", "", "mine"]),
    missing_event_id=st.sampled_from(["generate", "hash", "reject"]),
    rate_limit_events_per_second=st.sampled_from([0, 0.1, 3, 1e12]),
    rate_limit_burst_events=st.sampled_from([0, 1, 5]),
    over_limit=st.sampled_from(["defer", "drop", "observe"]),
)
rates = st.sampled_from([0.1, 1 / 3, 1.0, 2.5, 7.0, 1000.0, 1e9, 3e12])
takes = st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 30)), min_size=1, max_size=20)


def take(source: Source, head: list[tuple[bytes, bytes]], body: bytes | bytearray | memoryview) -> Deliveries | Refusal:
    found = DeliveryHead("s", None, scan(head), None, "127.0.0.1")
    claims = claims_of(source, found.scanned, NOW_MS) if source.signing_keys else ()
    if isinstance(claims, Refusal):
        return claims
    reading = read(source, found, body, NOW_MS, LIMITS, claims=claims)
    assert not isinstance(reading, Handshake)
    return reading


def check_refusal(refusal: Refusal) -> None:
    assert refusal.status == STATUS[refusal.code]
    assert refusal.status < 500
    orjson.dumps(refusal.message)


def check_events(stored: NumberedDeliveries) -> list[dict[str, object]]:
    """Every event of a delivery can be built, has its nine fields and can be printed."""
    facts = stored.deliveries
    built = build_events(stored, range(facts.count))
    assert len(built) == facts.count > 0
    for position, event in enumerate(built):
        assert " ".join(event) == FIELDS
        event_id, kind = event["inbound_event_id"], event["event_type"]
        assert isinstance(event_id, str)
        assert isinstance(kind, str)
        assert 1 <= len(event_id.encode()) <= 512
        assert 1 <= len(kind.encode()) <= 256
        assert event_id == stored.event_id(position)
    orjson.dumps(built)
    return built


@given(sources, headers, bodies)
def test_any_bytes_give_a_reading_or_a_refusal(source: Source, head: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Any bytes under any head are read or refused from the closed list, and what is read can be built and printed."""
    found = take(source, head, body)
    if isinstance(found, Refusal):
        check_refusal(found)
        return
    facts = found
    [rejected], [batch_size] = facts.rejected, facts.batch_sizes
    assert facts.count + len(rejected) == batch_size <= LIMITS.batch_events_max
    assert sorted([*facts.indexes, *(index for index, _, _ in rejected)]) == list(range(batch_size))
    assert {len(facts.indexes), *(len(getattr(facts, column)) for column in EVENT_COLUMNS)} == {facts.count}
    assert len(facts.headers[0]) <= 32
    check_events(NumberedDeliveries(1, "abcdef", found))


@given(sources, plain_headers, bodies, encodings)
def test_splitting_a_body_differently_changes_nothing(
    source: Source, head: list[tuple[bytes, bytes]], body: bytes, encoding: tuple[bytes | None, Any]
) -> None:
    """The same body in another buffer, encoding, or number of members gives the same facts, body and events."""
    name, encode = encoding
    unsigned = replace(source, signing_keys=())
    plain = take(unsigned, head, body)
    packed_head = head if name is None else [*head, (b"content-encoding", name)]
    for buffer in (encode(body), memoryview(encode(body)), bytearray(encode(body))):
        assert take(unsigned, packed_head, buffer) == plain


@given(bodies, encodings, st.data())
def test_damaged_encodings_escape_nothing(body: bytes, encoding: tuple[bytes | None, Any], data: st.DataObject) -> None:
    """A compressed body with any byte changed or cut is still read or refused."""
    name, encode = encoding
    packed = bytearray(encode(body) or b"\0")
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    found = take(Source("s", "webhook", ()), [(b"content-encoding", name or b"")], packed[: data.draw(st.integers(0))])
    if isinstance(found, Refusal):
        check_refusal(found)


@given(sources, bodies, st.integers(0, 12), st.booleans())
def test_the_four_numbers_add_up(source: Source, body: bytes, spent: int, deferring: bool) -> None:
    """For n items accepted + deferred + dropped + rejected is n, whatever the limiter's state and the mode."""
    unsigned = Source("s", source.type, (), missing_event_id=source.missing_event_id)
    found = take(unsigned, [], body)
    if isinstance(found, Refusal):
        return
    limiter = Gcra(source.rate_limit_events_per_second, source.rate_limit_burst_events)
    limiter.admit(spent, SECOND)
    admission = admit(found, source, limiter, deferring, SECOND)
    said = orjson.loads(answer_body(source, admission, "0000000000001-abcdef"))
    assert said["accepted"] + said["deferred"] + said["dropped"] + len(said["rejected"]) == found.batch_sizes[0]
    assert said["accepted"] == admission.admitted
    assert said["deferred"] == 0 or (source.over_limit == "defer" and admission.rest is EventStatus.DEFERRED)
    assert said["dropped"] == 0 or (source.over_limit == "drop" and admission.rest is EventStatus.DROPPED)
    assert 0 <= admission.over_limit <= found.count
    check_events(NumberedDeliveries(1, "abcdef", admission.deliveries))


@given(plain_batches, sources)
def test_the_quick_and_careful_ways_agree(batch: list[dict[str, str]], source: Source) -> None:
    """A batch of plain items gives the same columns as the same items behind one that is none."""
    batch = batch[: LIMITS.batch_events_max - 1]
    segment = Source("s", "segment", (), event_type_override=source.event_type_override)
    quick = take(segment, [], orjson.dumps({"batch": batch}))
    careful = take(segment, [], orjson.dumps({"batch": [None, *batch]}))
    assert isinstance(quick, Deliveries)
    assert isinstance(careful, Deliveries)
    for column in EVENT_COLUMNS:
        assert list(getattr(quick, column)) == list(getattr(careful, column))
    assert [index + 1 for index in quick.indexes] == list(careful.indexes)


@given(rates, st.integers(0, 20), takes)
def test_never_more_than_burst_and_rate(rate: float, burst: int, steps: list[tuple[int, int]]) -> None:
    """In any window of t seconds at most burst + rate·t events are admitted; no token is held back."""
    limiter = Gcra(rate, burst)
    size = burst or max(1, math.floor(rate))
    now = 10 * SECOND
    taken: list[tuple[int, int]] = []
    for pause, n in steps:
        now += pause
        due = limiter.wait_ns(n, now)
        admitted = limiter.admit(n, now)
        assert 0 <= admitted <= n
        assert (due == 0) == (admitted >= min(n, size))
        taken.append((now, admitted))
    for first in range(len(taken)):
        total = 0
        for at, admitted in taken[first:]:
            total += admitted
            assert total <= size + rate * (at - taken[first][0]) / SECOND * (1 + 1e-12)


@given(rates, st.integers(0, 20), takes, st.data())
def test_taking_in_parts_admits_the_same(
    rate: float, burst: int, steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    """A take that is split into two admits, charges and leaves exactly what one would."""
    whole, parts = Gcra(rate, burst), Gcra(rate, burst)
    now = 10 * SECOND
    for pause, n in steps:
        now += pause
        first = data.draw(st.integers(0, n))
        assert whole.admit(n, now) == parts.admit(first, now) + parts.admit(n - first, now)
        assert whole.wait_ns(1, now) == parts.wait_ns(1, now)


@given(rates, st.integers(0, 20), takes)
def test_the_wait_is_exact(rate: float, burst: int, steps: list[tuple[int, int]]) -> None:
    """After the announced wait the tokens are there, and a nanosecond earlier they are not."""
    limiter = Gcra(rate, burst)
    size = burst or max(1, math.floor(rate))
    now = 10 * SECOND
    for pause, n in steps:
        now += pause
        limiter.admit(n, now)
        wait = limiter.wait_ns(n, now)
        if wait:
            assert limiter.wait_ns(n, now + wait - 1) == 1
        assert limiter.wait_ns(n, now + wait) == 0
        assert limiter.admit(min(n, size), now + wait) == min(n, size)
        now += wait


@dataclass
class Sent:
    """A request that came whole."""

    head: DeliveryHead
    body: bytes


sent = st.builds(
    lambda head, body: Sent(DeliveryHead("s", None, scan(head), len(body), "127.0.0.1"), body), plain_headers, bodies
)


@given(sources, st.lists(sent, max_size=8))
def test_requests_read_together_are_read_as_alone(source: Source, requests: list[Sent]) -> None:
    """Each request is taken or left; what is found in one that is taken is what is found in it alone."""
    taken, found, left = read_many(source, requests, 1_782_907_200_123, LIMITS)
    assert sorted(map(id, [*taken, *left])) == sorted(map(id, requests))
    alone = [read(source, request.head, request.body, 1_782_907_200_123, LIMITS) for request in taken]
    if source.signing_keys:
        return
    assert (found is None) == (not taken)
    if found is not None:
        numbered = NumberedDeliveries(1, "abcdef", found)
        assert [as_lists(numbered.part(at, at + 1).deliveries) for at in range(len(taken))] == [
            as_lists(each) for each in alone if isinstance(each, Deliveries)
        ]


@given(st.sampled_from(["webhook", "segment"]), st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=8))
def test_plain_requests_are_taken(kind: Literal["webhook", "segment"], ids: list[str]) -> None:
    """What nearly all senders send is not left to go alone."""
    key, type_key = ("messageId", "type") if kind == "segment" else ("inbound_event_id", "event_type")
    body = [orjson.dumps({key: event_id, type_key: "track"}) for event_id in ids]
    requests = [Sent(DeliveryHead("s", None, scan([]), len(each), "127.0.0.1"), each) for each in body]
    _, found, left = read_many(Source("s", kind, ()), requests, 1_782_907_200_123, LIMITS)
    assert left == []
    assert found is not None
    assert found.ids == ids


def as_lists(deliveries: Deliveries) -> dict[str, object]:
    """The columns, whatever kind of sequence holds them."""
    return {
        name: list(value) if isinstance(value := getattr(deliveries, name), tuple) else value
        for name in Deliveries.__annotations__
    }
