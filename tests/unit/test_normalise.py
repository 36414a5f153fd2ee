"""Normalised events: every row of the contract's table, read back as they were decided."""

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from server.base.refusal import Refusal
from server.base.source import Source
from server.intake.events import build_events
from server.intake.handshakes import Handshake
from server.intake.headers import scan
from server.intake.intake import DeliveryHead, IntakeLimits, read
from storage.deliveries import PAYLOAD_KEY, WHOLE_ITEM, Deliveries, NumberedDeliveries

LIMITS = IntakeLimits(
    body_bytes_max=1 << 20, decoded_bytes_max=1 << 20, json_containers_max=10_000, batch_events_max=100
)
WEBHOOK = Source("hooks", "webhook", ())
SEGMENT = Source("seg", "segment", ())
DELIVERY = "0000000000007-abcdef"
NOW_MS = 1_782_907_200_123
FIELDS = [
    "inbound_event_id",
    "source_config_id",
    "source_type",
    "provider_event_id",
    "event_type",
    "received_at",
    "payload",
    "headers",
    "meta",
]
Headers = Sequence[tuple[bytes, bytes]]


def take(source: Source, body: Any, headers: Headers = ()) -> Deliveries | Handshake | Refusal:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return read(source, DeliveryHead(source.id, None, scan(headers), None, "192.0.2.7"), data, NOW_MS, LIMITS)


def stored(source: Source, body: Any, headers: Headers = ()) -> NumberedDeliveries:
    reading = take(source, body, headers)
    assert isinstance(reading, Deliveries), reading
    return NumberedDeliveries(7, "abcdef", reading)


def events(source: Source, body: Any, headers: Headers = ()) -> list[dict[str, Any]]:
    kept = stored(source, body, headers)
    return build_events(kept, range(kept.count))


def event(source: Source, body: Any, headers: Headers = ()) -> dict[str, Any]:
    [only] = events(source, body, headers)
    return only


def refused(source: Source, body: Any, headers: Headers = ()) -> str:
    refusal = take(source, body, headers)
    assert isinstance(refusal, Refusal), refusal
    return refusal.code


def with_source(source: Source, **changes: Any) -> Source:
    fields = {name: getattr(source, name) for name in source.__slots__}
    return Source(**{**fields, **changes})


def rejected(source: Source, body: Any) -> list[int]:
    return [index for index, code, _ in stored(source, body).deliveries.rejected[0] if code == "invalid_event"]


def test_a_webhook_event_has_nine_fields() -> None:
    """A webhook event has the nine fields, in the contract's order, with these values."""
    body = {"inbound_event_id": "evt_1", "id": 5, "event_type": "lead.updated", "payload": {"lead": 42}}
    found = event(WEBHOOK, body, [(b"user-agent", b"curl"), (b"accept", b"*/*")])
    assert list(found) == FIELDS
    assert found == {
        "inbound_event_id": "evt_1",
        "source_config_id": "hooks",
        "source_type": "webhook",
        "provider_event_id": "5",
        "event_type": "lead.updated",
        "received_at": "2026-07-01T12:00:00.123Z",
        "payload": {"lead": 42},
        "headers": {"user-agent": "curl"},
        "meta": {
            "number": 7,
            "id_from": "body.inbound_event_id",
            "batch_index": 0,
            "batch_size": 1,
            "delivery": DELIVERY,
            "remote_addr": "192.0.2.7",
        },
    }


def test_where_the_payload_is() -> None:
    """It is decided when the event comes: what the item has under `payload`, null too, where one of the envelope's
    keys stands beside it; else the item; of Segment's items always the item."""
    envelopes: list[dict[str, object]] = [
        {"payload": None, "event_type": "t"},
        {"payload": {}, "inbound_event_id": "i"},
        {"payload": 1, "provider_event_id": 7, "event_type": None},
        {"payload": 1, "provider_event_id": {}},
    ]
    others: list[dict[str, object]] = [
        {"id": 1},
        {"Payload": 1, "event_type": "t"},
        {"payload": {"id": "i", "event_type": "t"}},
        {"payload": {}, "triggerEvent": "BOOKING_CREATED", "createdAt": "2026-07-01T12:00:00Z", "id": "i"},
        {"payload": 1, "inbound_event_id": None, "event_type": None, "provider_event_id": None},
    ]
    expected = [PAYLOAD_KEY] * len(envelopes) + [WHOLE_ITEM] * len(others)
    headers = [(b"webhook-id", b"h")]
    for source in (WEBHOOK, with_source(WEBHOOK, event_type_override="mine")):
        assert stored(source, [*envelopes, *others]).deliveries.payload_from == expected
        alone = [stored(source, item, headers).deliveries.payload_from for item in (*envelopes, *others)]
        assert alone == [[each] for each in expected]
    page = {"type": "page", "messageId": "m", "payload": 1}
    assert stored(SEGMENT, page).deliveries.payload_from == [WHOLE_ITEM]
    assert stored(SEGMENT, {"batch": [page, page]}).deliveries.payload_from == [WHOLE_ITEM] * 2


def test_a_segment_event_is_the_item() -> None:
    """A segment event is the item itself, with its messageId as both ids and the body's sentAt in meta."""
    body = {"type": "track", "messageId": "m1", "event": "Paid", "sentAt": "2026-07-01T12:00:00Z"}
    found = event(SEGMENT, body)
    assert list(found) == FIELDS
    assert found["inbound_event_id"] == found["provider_event_id"] == "m1"
    assert found["event_type"] == "track"
    assert found["payload"] == body
    assert list(found["meta"])[-1] == "sent_at"
    assert found["meta"]["sent_at"] == "2026-07-01T12:00:00Z"
    assert found["meta"]["id_from"] == "body.messageId"


def test_a_top_level_array_is_a_batch() -> None:
    """A top-level array is a batch: numbers rise by item, indexes count the rejected ones too."""
    found = events(WEBHOOK, [{"inbound_event_id": "a"}, 5, {"inbound_event_id": "b", "payload": [1]}])
    assert [one["inbound_event_id"] for one in found] == ["a", "b"]
    assert [one["payload"] for one in found] == [{"inbound_event_id": "a"}, [1]]
    assert [(one["meta"]["number"], one["meta"]["batch_index"]) for one in found] == [(7, 0), (8, 2)]
    assert {one["meta"]["batch_size"] for one in found} == {3}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x", "x"),
        ("é" * 256, "é" * 256),
        ("\U0001f600" * 128, "\U0001f600" * 128),
        ("a" * 512, "a" * 512),
        ("nul\0 /%", "nul\0 /%"),
        (0, "0"),
        (2**64 - 1, "18446744073709551615"),
        ("", None),
        ("a" * 513, None),
        ("é" * 257, None),
        ("\U0001f600" * 129, None),
        (-1, None),
        (1.5, None),
        (1.0, None),
        (True, None),
        (False, None),
        ({}, None),
        ([], None),
    ],
)
def test_ids_are_short_texts_or_numbers(value: object, expected: str | None) -> None:
    """Ids are 1 to 512 bytes or whole numbers of 64 bits in decimal; as provider's id a bad one counts as absent."""
    if expected is None:
        assert refused(WEBHOOK, {"inbound_event_id": value}) == "invalid_event"
        assert refused(SEGMENT, {"type": "page", "messageId": value}) == "invalid_event"
        assert rejected(SEGMENT, {"batch": [{"type": "page", "messageId": value}, {"type": "page"}]}) == [0]
    else:
        assert event(WEBHOOK, {"inbound_event_id": value})["inbound_event_id"] == expected
        found = event(SEGMENT, {"batch": [{"type": "page", "messageId": value}]})
        assert found["inbound_event_id"] == found["provider_event_id"] == expected
    assert event(WEBHOOK, {"inbound_event_id": "i", "provider_event_id": value})["provider_event_id"] == expected
    assert event(WEBHOOK, {"inbound_event_id": "i", "id": value})["provider_event_id"] == expected


@pytest.mark.parametrize("number", [b"18446744073709551616", b"-9223372036854775809", b"1e3"])
def test_integers_that_are_none(number: bytes) -> None:
    """What JSON writes as a number beyond 64 bits, or with an exponent, is no id."""
    assert refused(WEBHOOK, b'{"inbound_event_id":%b}' % number) == "invalid_event"


def test_an_id_cut_in_half_is_none() -> None:
    """An id with half a surrogate pair is none: the item is rejected for it alone; U+FFFD itself may be in an id."""
    items = rb'[{"inbound_event_id":"a\ud83d"},{"inbound_event_id":"a\ufffd"},{"inbound_event_id":"b"}]'
    assert rejected(WEBHOOK, items) == [0]
    assert [one["inbound_event_id"] for one in events(WEBHOOK, items)] == ["a\ufffd", "b"]
    assert refused(WEBHOOK, rb'{"inbound_event_id":"\uDE00"}') == "invalid_event"
    batch = rb'{"batch":[{"type":"page","messageId":"\ud83d"},{"type":"page","messageId":"m","name":"\ud83d"}]}'
    assert rejected(SEGMENT, batch) == [0]
    assert events(SEGMENT, batch)[0]["payload"] == {"type": "page", "messageId": "m", "name": "\ufffd"}
    assert refused(SEGMENT, rb'{"type":"page","messageId":"\ud83d"}') == "invalid_event"


def test_a_provider_id_cut_in_half() -> None:
    """As the provider's id such a one counts as absent, and a type keeps U+FFFD in its place."""
    found = event(WEBHOOK, rb'{"inbound_event_id":"i","provider_event_id":"\ud83d","id":"p","event_type":"t\ude00"}')
    assert (found["provider_event_id"], found["event_type"]) == ("p", "t\ufffd")
    assert event(WEBHOOK, rb'{"id":"\ud83d"}', [(b"webhook-id", b"h")])["provider_event_id"] == "h"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"provider_event_id": "p", "id": "i"}, "p"),
        ({"provider_event_id": None, "id": "i"}, "i"),
        ({"provider_event_id": True, "id": "i"}, "i"),
        ({"provider_event_id": "", "id": {}}, "h"),
        ({}, "h"),
    ],
)
def test_provider_event_id_chain(body: dict[str, object], expected: str) -> None:
    """The first good one counts: provider_event_id, id, the header."""
    assert event(WEBHOOK, body, [(b"webhook-id", b"h")])["provider_event_id"] == expected


ID_HEADERS = [b"webhook-id", b"svix-id", b"x-github-delivery", b"x-shopify-webhook-id", b"idempotency-key"]


@pytest.mark.parametrize("first", range(len(ID_HEADERS)))
def test_id_headers_in_order(first: int) -> None:
    """Of the id headers the earliest in the list counts, in whatever order they came; the body's id wins."""
    headers = [(name, b" id-" + name) for name in reversed(ID_HEADERS[first:])]
    found = event(WEBHOOK, {"a": 1}, headers)
    name = ID_HEADERS[first].decode()
    assert found["inbound_event_id"] == found["provider_event_id"] == f"id-{name}"
    assert found["meta"]["id_from"] == f"header.{name}"
    found = event(WEBHOOK, {"inbound_event_id": "own"}, headers)
    assert (found["inbound_event_id"], found["provider_event_id"]) == ("own", f"id-{name}")
    assert event(WEBHOOK, {"inbound_event_id": None}, headers)["inbound_event_id"] == f"id-{name}"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"webhook-id", b"\xff")],
        [(b"webhook-id", b"")],
        [(b"webhook-id", b"a" * 513)],
        [(b"webhook-id", b"a"), (b"webhook-id", b"a")],
        [(b"idempotency-key", b"good"), (b"webhook-id", b"\xed\xa0\x80")],
    ],
)
def test_a_bad_id_header_counts_as_absent(headers: Headers) -> None:
    """A bad id header is an error where it would be the id; where the body has one, it counts as absent."""
    assert refused(WEBHOOK, {"a": 1}, headers) == "invalid_event"
    found = event(WEBHOOK, {"inbound_event_id": "own"}, headers)
    assert (found["inbound_event_id"], found["provider_event_id"]) == ("own", None)
    assert event(WEBHOOK, [{"a": 1}], headers)["meta"]["id_from"] == "generated"
    assert event(SEGMENT, {"type": "page"}, headers)["meta"]["id_from"] == "generated"


def test_id_header_is_for_one_object() -> None:
    """An array never takes the header for the id of its items, not even an array of one."""
    found = event(WEBHOOK, [{"a": 1}], [(b"webhook-id", b"h")])
    assert found["inbound_event_id"] == f"{DELIVERY}-0"
    assert found["provider_event_id"] is None


def test_a_generated_id_names_the_place() -> None:
    """An item without an id is named after its delivery and its place in it."""
    found = events(SEGMENT, {"batch": [1, {"type": "page"}, {"type": "page", "messageId": None}]})
    assert [one["inbound_event_id"] for one in found] == [f"{DELIVERY}-1", f"{DELIVERY}-2"]
    assert {one["provider_event_id"] for one in found} == {None}
    assert {one["meta"]["id_from"] for one in found} == {"generated"}


def test_a_hashed_id_names_the_content() -> None:
    """`hash` names an item by its content with sorted keys, before the batch fills in."""
    source = with_source(SEGMENT, missing_event_id="hash")
    item = {"type": "page", "b": {"y": 1, "x": 2.5}, "a": "é"}
    expected = hashlib.blake2b('{"a":"é","b":{"x":2.5,"y":1},"type":"page"}'.encode(), digest_size=16).hexdigest()
    turned = dict(reversed(item.items()))
    found = events(source, {"context": {"ip": "::1"}, "batch": [item, turned]})
    assert [one["inbound_event_id"] for one in found] == [expected, expected]
    assert found[0]["meta"]["id_from"] == "hash"
    assert found[0]["provider_event_id"] is None
    assert event(with_source(WEBHOOK, missing_event_id="hash"), [item])["inbound_event_id"] == expected


def test_a_missing_id_can_be_rejected() -> None:
    """`reject` makes an item without an id no event, and its neighbours still are."""
    source = with_source(SEGMENT, missing_event_id="reject")
    body = {"batch": [{"type": "page"}, {"type": "page", "messageId": "m"}]}
    assert rejected(source, body) == [0]
    assert refused(source, {"type": "page"}) == "invalid_event"
    webhook = with_source(WEBHOOK, missing_event_id="reject")
    assert refused(webhook, {}) == "invalid_event"
    assert event(webhook, {}, [(b"svix-id", b"s")])["inbound_event_id"] == "s"


@pytest.mark.parametrize(
    ("source", "body", "words"),
    [
        (SEGMENT, {"type": "page"}, "no messageId"),
        (WEBHOOK, {"id": 7}, "no inbound_event_id (a body's id is not one), and no id header"),
        (WEBHOOK, [{"id": 7}], "no inbound_event_id (an item's id is not one"),
    ],
)
def test_a_missing_id_is_named(source: Source, body: Any, words: str) -> None:
    """The message says what was looked for, and that a body's `id` is not it."""
    refusal = take(with_source(source, missing_event_id="reject"), body, [(b"x-other", b"1")])
    assert isinstance(refusal, Refusal)
    assert words in refusal.message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("lead.new", "lead.new"),
        (None, "unknown"),
        ("é" * 128, "é" * 128),
        ("", None),
        ("a" * 257, None),
        ("é" * 129, None),
        (5, None),
        (True, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_webhook_type_is_a_string(value: object, expected: str | None) -> None:
    """A type is a string of 1 to 256 bytes, or unknown where it is absent; the override is not troubled by it."""
    body = {"inbound_event_id": "i", "event_type": value}
    if expected is None:
        assert refused(WEBHOOK, body) == "invalid_event"
    else:
        assert event(WEBHOOK, body)["event_type"] == expected
    assert event(with_source(WEBHOOK, event_type_override="mine"), body)["event_type"] == "mine"


@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
def test_the_six_segment_types_are_known(kind: str) -> None:
    """The six known types are events' types; the override replaces them."""
    assert event(SEGMENT, {"type": kind})["event_type"] == kind
    source = with_source(SEGMENT, event_type_override="mine")
    assert event(source, {"type": kind})["event_type"] == "mine"
    assert event(source, {"batch": [{"type": kind, "messageId": "m"}]})["event_type"] == "mine"


@pytest.mark.parametrize("kind", [None, "", "Track", "delete", 1, True, [], {}])
def test_an_unknown_segment_type_is_rejected(kind: object) -> None:
    """An item of another type is no event, alone, in a batch, and under an override."""
    for source in (SEGMENT, with_source(SEGMENT, event_type_override="mine")):
        assert refused(source, {"type": kind, "messageId": "m"}) == "invalid_event"
        batch = [{"type": kind, "messageId": "m"}, {"type": "page", "messageId": "n"}]
        assert rejected(source, {"batch": batch}) == [0]


@pytest.mark.parametrize("source", [WEBHOOK, SEGMENT])
@pytest.mark.parametrize("body", [b"1", b'"x"', b"null", b"true", b"[]", b"[1,null]", b'{"batch":[]}', b"[[]]"])
def test_shapes_without_an_event(source: Source, body: bytes) -> None:
    """A body without one good item is refused as a whole."""
    if source is WEBHOOK and body == b'{"batch":[]}':
        assert event(source, body)["payload"] == {"batch": []}
    else:
        assert refused(source, body) == "invalid_event"


def test_a_batch_must_be_an_array() -> None:
    """A batch must be an array, an array alone is none, and a null batch is none at all."""
    item = {"type": "page", "messageId": "m"}
    assert refused(SEGMENT, [item]) == "invalid_event"
    for batch in ({}, "x", 1, True, item):
        assert refused(SEGMENT, {**item, "batch": batch}) == "invalid_event"
    assert event(SEGMENT, {**item, "batch": None})["inbound_event_id"] == "m"
    assert event(SEGMENT, {**item, "batch": [{**item, "messageId": "inner"}]})["inbound_event_id"] == "inner"


def test_a_batch_is_limited_in_items() -> None:
    """A batch may hold exactly its limit of items; one more is too large, good or not."""
    item = {"type": "page", "messageId": "m"}
    assert len(events(SEGMENT, {"batch": [item] * LIMITS.batch_events_max})) == LIMITS.batch_events_max
    assert refused(SEGMENT, {"batch": [item] * (LIMITS.batch_events_max + 1)}) == "too_large"
    assert refused(WEBHOOK, [1] * (LIMITS.batch_events_max + 1)) == "too_large"


@pytest.mark.parametrize("value", [None, "", 5, {}, "x" * 65])
def test_a_bad_sent_at_is_none(value: object) -> None:
    """A sentAt that is no timestamp of reasonable size is none; on a webhook it means nothing."""
    assert event(SEGMENT, {"type": "page", "sentAt": value})["meta"]["sent_at"] is None
    assert "sent_at" not in event(WEBHOOK, {"sentAt": "2026-07-01T12:00:00Z"})["meta"]
