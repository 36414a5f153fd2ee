"""The reading side: normalised events from stored facts and the archived body. Nothing is decided here again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson

from storage.model import Facts, Stored

NO_RESULTS: Mapping[int, object] = MappingProxyType({})

FILLED_IN = ("context", "integrations")
"""What a Segment batch says once for all its items."""


def build_events(
    stored: Stored, positions: Sequence[int], results: Mapping[int, object] = NO_RESULTS
) -> list[dict[str, object]]:
    """The events at these positions of the facts, in their order, of the nine fields in the contract's order.

    A position in `results` gives its event a tenth field, `result`. All objects are fresh and shared by no two events
    of one call, if no position comes twice. `payload` is None where no body was kept.
    """
    facts = stored.facts
    received_at = rfc3339(facts.received_at_ms)
    events = []
    for position, payload in zip(positions, _payloads(facts, stored.body, positions), strict=True):
        event: dict[str, object] = {
            "inbound_event_id": stored.event_id(position),
            "source_config_id": facts.source_id,
            "source_type": facts.source_type,
            "provider_event_id": facts.provider_ids[position],
            "event_type": facts.types[position],
            "received_at": received_at,
            "payload": payload,
            "headers": dict(facts.headers),
            "meta": _meta(stored, position),
        }
        if position in results:
            event["result"] = results[position]
        events.append(event)
    return events


def rfc3339(at_ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC: `2026-07-01T12:00:00.123Z`."""
    seconds, ms = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03}Z"


def _meta(stored: Stored, position: int) -> dict[str, object]:
    facts = stored.facts
    meta: dict[str, object] = {
        "number": stored.first + position,
        "id_from": facts.id_from[position],
        "batch_index": facts.indexes[position],
        "batch_size": facts.batch_size,
        "delivery": stored.id,
        "remote_addr": facts.remote_addr,
    }
    if facts.source_type == "segment":
        meta["sent_at"] = facts.sent_at
    return meta


def _payloads(facts: Facts, body: bytes, positions: Sequence[int]) -> list[object]:
    if not body:
        return [None] * len(positions)
    parsed = orjson.loads(body)
    items = _items(facts, parsed)
    chosen = [items[facts.indexes[position]] for position in positions]
    if facts.source_type == "webhook":
        return [item.get("payload", item) for item in chosen]
    if facts.batched:
        _fill_in_all(chosen, parsed)
    return chosen


def _items(facts: Facts, parsed: Any) -> list[Any]:
    if not facts.batched:
        return [parsed]
    items: list[Any] = parsed if facts.source_type == "webhook" else parsed["batch"]
    return items


def _fill_in_all(items: list[dict[str, object]], batch: dict[str, object]) -> None:
    for name in FILLED_IN:
        common = batch.get(name)
        if isinstance(common, dict):
            written = orjson.dumps(common)
            for item in items:
                _fill_in(item, name, written)


def _fill_in(item: dict[str, object], name: str, written: bytes) -> None:
    """Adds the batch's keys that the item lacks. null is lacking; what is neither null nor an object is left alone."""
    own = item.get(name)
    if own is None or isinstance(own, dict):
        item[name] = orjson.loads(written) | (own or {})
