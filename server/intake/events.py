"""The reading side: builds normalised events from stored facts and archived bodies. Decides nothing anew."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from types import MappingProxyType
from typing import Any

import orjson

from server.intake.batches import stored_items
from storage.deliveries import PAYLOAD_KEY, Deliveries, NumberedDeliveries
from storage.delivery_id import delivery_id

NO_RESULTS: Mapping[int, object] = MappingProxyType({})

SHARED_KEYS = ("context", "integrations")
"""The keys that a Segment batch gives once for all its items."""

SHARED_BYTES_MAX = 2 * 2**20
"""Of JSON, in a call of a processor, that events are given by what their batches have in common: each has it for
itself, so that a body of a megabyte may make gigabytes."""


def build_events(
    numbered: NumberedDeliveries, positions: Sequence[int], results: Mapping[int, object] = NO_RESULTS
) -> list[dict[str, object]]:
    """Return the events at these positions, ascending or descending, each with the contract's nine fields in order.

    A position in `results` gives its event a tenth field, `result`. All objects are new, and no two events of one call
    share any. `payload` is None if no body was kept, or the event was forgotten: there is null in its place.
    """
    return [event for event, _ in _built(numbered, positions, results)]


def each_event(
    numbered: NumberedDeliveries, positions: Sequence[int], results: Mapping[int, object] = NO_RESULTS
) -> Iterator[dict[str, object]]:
    """Yield what `build_events` returns, built one by one: who keeps none of them needs the memory of one, though many
    have a large part in common."""
    for event, _ in _built(numbered, positions, results):
        yield event


def first_events(
    numbered: NumberedDeliveries, positions: Sequence[int], shared_bytes_max: int
) -> tuple[list[dict[str, object]], int]:
    """Return what `build_events` does, up to the event with which more than so many bytes of JSON were given to events
    by what their batches have in common; and how many were."""
    events = []
    given = 0
    for event, shared_bytes in _built(numbered, positions, NO_RESULTS):
        events.append(event)
        given += shared_bytes
        if given > shared_bytes_max:
            break
    return events, given


def _built(
    numbered: NumberedDeliveries, positions: Sequence[int], results: Mapping[int, object]
) -> Iterator[tuple[dict[str, object], int]]:
    """Yield each event, and how many bytes of JSON it has of what its batch gives to all."""
    deliveries = numbered.deliveries
    event_ids = numbered.event_ids()
    places = numbered.places_of([numbered.first + position for position in positions])
    for place, mine in _by_delivery(places, positions):
        received_at = rfc3339(deliveries.received_at_ms[place])
        own_id = delivery_id(numbered.first_of(place), numbered.suffix)
        for position, (payload, shared_bytes) in zip(mine, _payloads(deliveries, place, mine), strict=True):
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
            yield event, shared_bytes


def _by_delivery(places: Sequence[int], positions: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield each delivery's place, and those of these positions that are in it."""
    start = 0
    for place, same in groupby(places):
        stop = start + len(list(same))
        yield place, positions[start:stop]
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


def _payloads(deliveries: Deliveries, place: int, positions: Sequence[int]) -> Iterator[tuple[Any, int]]:
    """Parse the body of one delivery; yield the payloads of its events at these positions, and how many bytes of JSON
    each was given. An item is filled in when its turn comes, and let go of then."""
    body = deliveries.bodies[place]
    if not body:
        yield from [(None, 0)] * len(positions)
        return
    parsed = orjson.loads(body)
    is_batch, shared = deliveries.batched[place], {}
    if is_batch and deliveries.source_type == "segment":
        shared = _shared(parsed)
    shared_bytes = sum(map(len, shared.values()))
    items = stored_items(deliveries.source_type, parsed) if is_batch else [parsed]
    payload_from, indexes = deliveries.payload_from, deliveries.indexes
    for position in positions:
        index = indexes[position] if is_batch else 0
        item, items[index] = items[index], None
        if item is None:  # the event was forgotten
            yield None, 0
            continue
        for name, written in shared.items():
            _fill_in(item, name, written)
        yield item["payload"] if payload_from[position] == PAYLOAD_KEY else item, shared_bytes


def _shared(batch: Mapping[str, object]) -> dict[str, bytes]:
    """Return, as JSON, what a batch gives for all of its items."""
    given = {name: batch.get(name) for name in SHARED_KEYS}
    return {name: orjson.dumps(common) for name, common in given.items() if isinstance(common, dict)}


def _fill_in(item: dict[str, object], name: str, written: bytes) -> None:
    """Add the batch's keys that the item lacks. null counts as lacking; any other non-object is left alone."""
    own = item.get(name)
    if own is None or isinstance(own, dict):
        item[name] = orjson.loads(written) | (own or {})
