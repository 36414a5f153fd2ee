"""The reading side: payloads, what a batch fills in, and that no two events share anything."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from server.base.source import Source
from server.intake.events import build_events, each_event, rfc3339
from server.intake.headers import scan
from server.intake.intake import DeliveryHead, IntakeLimits, read
from storage.deliveries import PAYLOAD_KEY, WHOLE_ITEM, Deliveries, NumberedDeliveries, merged
from tests.support.store import changed

LIMITS = IntakeLimits(
    body_bytes_max=1 << 20, decoded_bytes_max=1 << 20, json_containers_max=10_000, batch_events_max=100
)
WEBHOOK = Source("hooks", "webhook", ())
SEGMENT = Source("seg", "segment", ())
NOW_MS = 1_782_907_200_123


def stored(source: Source, body: object, *headers: tuple[bytes, bytes]) -> NumberedDeliveries:
    reading = read(
        source, DeliveryHead(source.id, None, scan(headers), None, "::1"), orjson.dumps(body), NOW_MS, LIMITS
    )
    assert isinstance(reading, Deliveries), reading
    return NumberedDeliveries(7, "abcdef", reading)


def payloads(source: Source, body: object) -> list[Any]:
    kept = stored(source, body)
    return [event["payload"] for event in build_events(kept, range(kept.count))]


def test_the_payload_or_the_whole_item() -> None:
    """The payload is the body's `payload` where the body is an envelope, null included; else the whole item."""
    assert payloads(WEBHOOK, {"id": 1}) == [{"id": 1}]
    assert payloads(WEBHOOK, {"event_type": "t", "payload": None}) == [None]
    assert payloads(WEBHOOK, {"event_type": "t", "payload": 5}) == [5]
    assert payloads(SEGMENT, {"type": "page", "payload": 5}) == [{"type": "page", "payload": 5}]


def test_payload_is_chosen_once() -> None:
    """How the payload was chosen stands with the delivery, and is not decided again when the event is read."""
    kept = stored(WEBHOOK, [{"event_type": "t", "payload": 5}, {"id": 1}])
    assert kept.deliveries.payload_from == [PAYLOAD_KEY, WHOLE_ITEM]
    other = changed(kept, payload_from=[WHOLE_ITEM, WHOLE_ITEM])
    assert [event["payload"] for event in build_events(other, [0, 1])] == [{"event_type": "t", "payload": 5}, {"id": 1}]


def test_many_deliveries_build_their_own_events() -> None:
    """Events of several deliveries in one set each have the payload, headers and delivery id of their own."""
    first, second = stored(WEBHOOK, [{"a": 1}, {"a": 2}], (b"x-a", b"1")), stored(WEBHOOK, {"a": 3}, (b"x-a", b"2"))
    both = merged([first, replace(second, first=9)])
    found = build_events(both, [1, 2])
    assert found == [build_events(first, [1])[0], build_events(replace(second, first=9), [0])[0]]


def test_the_batch_fills_in_missing_keys() -> None:
    """Batch-level context and integrations give an item the keys that it lacks; what it has, it keeps."""
    items: list[dict[str, object]] = [
        {"type": "page"},
        {"type": "page", "context": {"ip": "own", "page": {"url": "u"}}, "integrations": {"All": True}},
        {"type": "page", "context": None},
        {"type": "page", "context": "odd", "integrations": [1]},
        {"type": "page", "context": {"ip": None}},
    ]
    common = {"ip": "batch", "page": {"path": "p"}, "os": "x"}
    body = {"batch": items, "context": common, "integrations": {"All": False}, "other": 1}
    found = payloads(SEGMENT, body)
    assert found[0] == {"type": "page", "context": common, "integrations": {"All": False}}
    assert found[1]["context"] == {"ip": "own", "page": {"url": "u"}, "os": "x"}
    assert found[1]["integrations"] == {"All": True}
    assert found[2]["context"] == common
    assert (found[3]["context"], found[3]["integrations"]) == ("odd", [1])
    assert found[4]["context"] == {**common, "ip": None}
    for odd in (None, "x", [1], 5):
        assert payloads(SEGMENT, {"batch": [{"type": "page"}], "context": odd}) == [{"type": "page"}]


def test_events_share_no_object() -> None:
    """A processor that changes one event changes no other, and no later attempt."""
    kept = stored(SEGMENT, {"batch": [{"type": "page"}] * 2, "context": {"deep": {"list": []}}}, (b"x-a", b"1"))
    first, second = build_events(kept, [0, 1])
    first["payload"]["context"]["deep"]["list"].append("mine")  # type: ignore[index]  # it is a dict
    first["headers"]["x-a"] = "2"  # type: ignore[index]  # it is a dict
    first["meta"].clear()  # type: ignore[attr-defined]  # it is a dict
    assert second["payload"] == {"type": "page", "context": {"deep": {"list": []}}}
    assert second["headers"] == {"x-a": "1"}
    assert build_events(kept, [1]) == [second]


def test_results_follow_the_order_asked_for() -> None:
    """Events come at the places asked for; a result is a tenth field, where there is one, null included."""
    kept = stored(WEBHOOK, [{"inbound_event_id": name} for name in "abc"])
    found = build_events(kept, [0, 2], {2: {"ok": 1}, 0: None})
    assert [one["inbound_event_id"] for one in found] == ["a", "c"]
    assert [one["result"] for one in found] == [None, {"ok": 1}]
    assert list(found[0])[9:] == ["result"]
    assert "result" not in build_events(kept, [1], {2: 1})[0]


def test_event_without_a_body() -> None:
    """Where no body was kept the event still has its nine fields, without a payload."""
    kept = stored(SEGMENT, {"type": "page", "messageId": "m"})
    [found] = build_events(changed(kept, bodies=[b""]), [0])
    assert len(found) == 9
    assert found["payload"] is None


def test_times_are_utc_with_milliseconds() -> None:
    """Times are UTC with exactly three decimals."""
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(NOW_MS) == "2026-07-01T12:00:00.123Z"
    assert rfc3339(1_782_907_199_999) == "2026-07-01T11:59:59.999Z"


def test_events_need_no_memory_of_one_another() -> None:
    """Who takes them one by one needs no more for a hundred, each with a large context of its own, than for a few."""
    context = {"context": {"text": "x" * 300_000}}
    kept = stored(SEGMENT, {"batch": [{"type": "page", "messageId": str(at)} for at in range(100)]} | context)
    tracemalloc.start()
    try:
        events: Iterator[Any] = each_event(kept, range(kept.count))
        sizes = [len(event["payload"]["context"]["text"]) for event in events]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sizes == [300_000] * 100
    assert peak < 15_000_000
