"""Requests of one source that arrived together with one event each: read at once, column by column.

Only plain ones, in the form that nearly all senders use. The others are left to `intake.read`, one at a time; it reads
plain ones alike, and words every refusal.
"""

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import attrgetter, contains, itemgetter
from typing import Any, Protocol, TypeVar

import orjson

from server.base.source import Source
from server.intake import normalise
from server.intake.handshakes import asks_by_post, on_post
from server.intake.headers import Scanned
from server.intake.intake import DeliveryHead, IntakeLimits, body_hashes
from server.intake.items import FROM_EVENT_ID, SIGNED, Item, Row
from server.intake.normalise import Columns
from server.intake.parse import BODY_DEPTH_MAX, Body
from server.intake.places import places_of
from server.intake.signatures import signed_family
from storage.deliveries import PAYLOAD_KEY, WHOLE_ITEM, Deliveries

BODY_BYTES_MAX = 4096
"""Of a body that is read here. A larger one costs so much by itself that it gains nothing from this."""


class Request(Protocol):
    """A request that has arrived whole. `body` is as received, perhaps encoded."""

    head: DeliveryHead
    body: bytes


R = TypeVar("R", bound=Request)


def read_many(
    source: Source, requests: Sequence[R], now_ms: int, limits: IntakeLimits
) -> tuple[list[R], Deliveries | None, list[R]]:
    """Return the plain requests, their deliveries, and the other requests: those not rightly signed are among them."""
    plain, families, items, others = _parsed(source, requests, now_ms, limits)
    scanned = [request.head.scanned for request in plain]
    is_segment = source.type == "segment"
    columns = _plain_segment(source, items) if is_segment else _plain_webhook(source, scanned, items)
    if columns is None:
        plain, items, columns, odd = _one_by_one(source, plain, families, items)
        others += odd
        scanned = [request.head.scanned for request in plain]
    if not plain or columns is None:
        return [], None, others
    count = len(plain)
    deliveries = Deliveries(
        source.id,
        source.type,
        [now_ms] * count,
        [request.head.remote_addr for request in plain],
        [each.kept for each in scanned],
        list(map(normalise.sent_at, items)) if is_segment and _any_has(items, "sentAt") else [None] * count,
        [False] * count,
        [1] * count,
        [()] * count,
        [1] * count,
        [request.body for request in plain],
        body_hashes(source, (request.body for request in plain)),
        *columns[:4],
        [0] * count,
        *columns[4:],
    )
    return plain, deliveries, others


def _parsed(
    source: Source, requests: Sequence[R], now_ms: int, limits: IntakeLimits
) -> tuple[list[R], list[str], list[Item], list[R]]:
    """Return the requests whose body is a JSON object, the families by which they are signed, the objects, and the
    other requests."""
    plain: list[R] = []
    families: list[str] = []
    items: list[Item] = []
    others: list[R] = []
    size_max = min(BODY_BYTES_MAX, limits.body_bytes_max, limits.decoded_bytes_max)
    containers_max = min(BODY_DEPTH_MAX, limits.json_containers_max)
    unchecked_max = min(2 * BODY_DEPTH_MAX, limits.json_containers_max)  # too short to nest too deep or hold too many
    is_signed = bool(source.signing_keys)
    for request in requests:
        body = request.body
        size = len(body)
        item = None
        family = signed_family(source, request.head.scanned, body, now_ms) if is_signed else ""
        if (
            family is not None
            and size <= size_max
            and request.head.scanned.content_encoding is None
            and (size <= unchecked_max or body.count(b"{") + body.count(b"[") <= containers_max)
        ):
            item = _loaded(body)
        if family is not None and type(item) is dict:
            plain.append(request)
            families.append(family)
            items.append(item)
        else:
            others.append(request)
    return plain, families, items, others


def _loaded(body: bytes) -> object:
    try:
        found: object = orjson.loads(body)
    except ValueError:
        return None
    return found


_event_id: Callable[[Item], Any] = itemgetter("inbound_event_id")
_event_type: Callable[[Item], Any] = itemgetter("event_type")
_header_id: Callable[[Scanned], Any] = attrgetter("event_id")


def _plain_segment(source: Source, items: Sequence[Item]) -> Columns | None:
    """Return the columns at C speed; None if an item needs a closer look."""
    return None if _any_has(items, "batch") else normalise.plain_segment(source, items)


def _plain_webhook(source: Source, scanned: Sequence[Scanned], items: Sequence[Item]) -> Columns | None:
    """Return the same for webhooks without a provider's id, of a source that looks for none by paths."""
    if source.has_paths or asks_by_post(source):
        return None
    try:
        ids, types = list(map(_event_id, items)), list(map(_event_type, items))
    except KeyError:
        return None
    if not normalise.are_short_ids(ids) or not normalise.are_short_types(types):
        return None
    if _any_has(items, "id") or _any_has(items, "provider_event_id") or any(map(_header_id, scanned)):
        return None
    count = len(ids)
    payload = [WHOLE_ITEM] * count
    if _any_has(items, "payload"):  # beside an id
        payload = [PAYLOAD_KEY if "payload" in item else WHOLE_ITEM for item in items]
    signed = [SIGNED] * count
    return ids, [FROM_EVENT_ID] * count, [None] * count, normalise.overridden(source, types), payload, signed


def _any_has(items: Sequence[Item], key: str) -> bool:
    return any(map(contains, items, repeat(key)))


def _one_by_one(
    source: Source, requests: Sequence[R], families: Sequence[str], items: Sequence[Item]
) -> tuple[list[R], list[Item], Columns | None, list[R]]:
    """Read one by one: return the requests that hold an event, their items and columns, and the other requests."""
    plain: list[R] = []
    kept: list[Item] = []
    rows: list[Row] = []
    others: list[R] = []
    for request, family, item in zip(requests, families, items, strict=True):
        places = places_of(source, request.head.scanned, family)
        found = normalise.single_item(source, places, Body(item, request.body))
        if isinstance(found, str) or on_post(source, item) is not None:
            others.append(request)
        else:
            plain.append(request)
            kept.append(item)
            rows.append(found)
    return plain, kept, normalise.as_columns(rows) if rows else None, others
