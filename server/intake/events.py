"""The reading side: builds normalised events from stored facts and archived bodies. Decides nothing anew."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson

from server.intake.batches import stored_items
from storage.deliveries import PAYLOAD_KEY, Deliveries, NumberedDeliveries
from storage.delivery_id import delivery_id

NO_RESULTS: Mapping[int, object] = MappingProxyType({})

SHARED_KEYS = ("context", "integrations")
"""The keys that a Segment batch gives once for all its items."""


def build_events(
    numbered: NumberedDeliveries, positions: Sequence[int], results: Mapping[int, object] = NO_RESULTS
) -> list[dict[str, object]]:
    """Return the events at these ascending positions, each with the contract's nine fields in order.

    A position in `results` gives its event a tenth field, `result`. All objects are new, and no two events of one call
    share any. `payload` is None if no body was kept, or the event was forgotten: there is null in its place.
    """
    deliveries = numbered.deliveries
    event_ids = numbered.event_ids()
    places = numbered.places_of([numbered.first + position for position in positions])
    events = []
    for place, mine in _by_delivery(places, positions):
        received_at = rfc3339(deliveries.received_at_ms[place])
        own_id = delivery_id(numbered.first_of(place), numbered.suffix)
        for position, payload in zip(mine, _payloads(deliveries, place, mine), strict=True):
            event: dict[str, object] = {
                "inbound_event_id": event_ids[position],
                "source_config_id": deliveries.source_id,
                "source_type": deliveries.source_type,
                "provider_event_id": deliveries.provider_ids[position],
                "event_type": deliveries.types[position],
                "received_at": received_at,
                "payload": payload,
                "headers": dict(deliveries.headers[place]),
                "meta": _meta(numbered, place, own_id, position),
            }
            if position in results:
                event["result"] = results[position]
            events.append(event)
    return events


def _by_delivery(places: Sequence[int], positions: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield each delivery's place, and those of these positions that are in it."""
    start = 0
    while start < len(places):
        stop = bisect_right(places, places[start], start)
        yield places[start], positions[start:stop]
        start = stop


def rfc3339(at_ms: int) -> str:
    """Return milliseconds since the epoch as RFC 3339 in UTC: `2026-07-01T12:00:00.123Z`."""
    minute, ms = divmod(at_ms, 60_000)
    return f"{_minute_text(minute)}:{ms // 1000:02}.{ms % 1000:03}Z"


@lru_cache(maxsize=64)
def _minute_text(minute: int) -> str:
    """Return the begin of all times in this minute since the epoch: neighbours have it in common."""
    return f"{datetime.fromtimestamp(60 * minute, UTC):%Y-%m-%dT%H:%M}"


def _meta(numbered: NumberedDeliveries, place: int, delivery_id: str, position: int) -> dict[str, object]:
    deliveries = numbered.deliveries
    meta: dict[str, object] = {
        "number": numbered.first + position,
        "id_from": deliveries.id_from[position],
        "batch_index": deliveries.indexes[position],
        "batch_size": deliveries.batch_sizes[place],
        "delivery": delivery_id,
        "remote_addr": deliveries.remote_addrs[place],
    }
    if deliveries.source_type == "segment":
        meta["sent_at"] = deliveries.sent_at[place]
    if deliveries.replay_of:
        meta["replay"] = deliveries.replay_of[position]
    if deliveries.unsigned[position]:
        meta["unsigned"] = deliveries.unsigned[position].split(",")
    return meta


def _payloads(deliveries: Deliveries, place: int, positions: Sequence[int]) -> list[object]:
    """Parse the body of one delivery; return the payloads of its events at these positions."""
    body = deliveries.bodies[place]
    if not body:
        return [None] * len(positions)
    parsed = orjson.loads(body)
    chosen = _of_batch(deliveries, parsed, positions) if deliveries.batched[place] else [parsed]
    return [
        item["payload"] if item is not None and deliveries.payload_from[position] == PAYLOAD_KEY else item
        for item, position in zip(chosen, positions, strict=True)
    ]


def _of_batch(deliveries: Deliveries, parsed: Any, positions: Sequence[int]) -> list[Any]:
    items = stored_items(deliveries.source_type, parsed)
    chosen = [items[deliveries.indexes[position]] for position in positions]
    if deliveries.source_type == "segment":
        _fill_in_all([item for item in chosen if item is not None], parsed)
    return chosen


def _fill_in_all(items: list[dict[str, object]], batch: dict[str, object]) -> None:
    for name in SHARED_KEYS:
        common = batch.get(name)
        if isinstance(common, dict):
            written = orjson.dumps(common)
            for item in items:
                _fill_in(item, name, written)


def _fill_in(item: dict[str, object], name: str, written: bytes) -> None:
    """Add the batch's keys that the item lacks. null counts as lacking; any other non-object is left alone."""
    own = item.get(name)
    if own is None or isinstance(own, dict):
        item[name] = orjson.loads(written) | (own or {})
