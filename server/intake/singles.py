"""Requests of one source that came together and hold one event each: read at once, column by column.

It takes what is as nearly all senders send it. Whatever is not, it leaves to `intake.read`, one request at a time,
which finds the same in those that are taken here, and knows the words for each refusal.
"""

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import attrgetter, contains, itemgetter
from typing import Any, Protocol, TypeVar

import orjson

from server.base.source import Source
from server.intake import normalise
from server.intake.headers import Scanned
from server.intake.intake import DeliveryHead, Limits
from server.intake.parse import BODY_DEPTH_MAX
from storage.model import Columns

BODY_BYTES_MAX = 4096
"""Of a body that is taken here. A larger one costs so much by itself that it loses nothing alone."""


class Request(Protocol):
    """A request that came whole. `body` is as it came, perhaps encoded."""

    head: DeliveryHead
    body: bytes


R = TypeVar("R", bound=Request)
Item = dict[str, Any]
Found = tuple[list[str | None], list[str], list[str | None], list[str]]
"""ids, id_from, provider ids, types."""


def read(source: Source, requests: Sequence[R], now_ms: int, limits: Limits) -> tuple[list[R], Columns | None, list[R]]:
    """The requests that were taken, what was found in them, and those that are left. Not for a source that signs."""
    taken, items, left = _parsed(requests, limits)
    scanned = [request.head.scanned for request in taken]
    found = _plain_segment(source, items) if source.type == "segment" else _plain_webhook(source, scanned, items)
    if found is None:
        taken, items, found, odd = _careful(source, taken, items)
        left += odd
        scanned = [request.head.scanned for request in taken]
    if not taken:
        return [], None, left
    ids, id_from, provider_ids, types = found
    nothing: list[str | None] = [None] * len(items)
    columns = Columns(
        source.id,
        source.type,
        now_ms,
        [request.head.remote_addr for request in taken],
        [each.kept for each in scanned],
        ids,
        id_from,
        provider_ids,
        types,
        list(map(normalise.sent_at, items)) if source.type == "segment" and _any_has(items, "sentAt") else nothing,
        [request.body for request in taken],
    )
    return taken, columns, left


def _parsed(requests: Sequence[R], limits: Limits) -> tuple[list[R], list[Item], list[R]]:
    """Those whose body is one JSON object, the objects, and the others."""
    taken: list[R] = []
    items: list[Item] = []
    left: list[R] = []
    size_max = min(BODY_BYTES_MAX, limits.body_bytes_max, limits.decoded_bytes_max)
    containers_max = min(BODY_DEPTH_MAX, limits.json_containers_max)
    unlooked_max = min(
        2 * BODY_DEPTH_MAX, limits.json_containers_max
    )  # too short to nest too deep, or to hold too many
    for request in requests:
        body = request.body
        size = len(body)
        item = None
        if (
            size <= size_max
            and request.head.scanned.content_encoding is None
            and (size <= unlooked_max or body.count(b"{") + body.count(b"[") <= containers_max)
        ):
            item = _loaded(body)
        if type(item) is dict:
            taken.append(request)
            items.append(item)
        else:
            left.append(request)
    return taken, items, left


def _loaded(body: bytes) -> object:
    try:
        found: object = orjson.loads(body)
    except ValueError:
        return None
    return found


_message_id: Callable[[Item], Any] = itemgetter("messageId")
_event_id: Callable[[Item], Any] = itemgetter("inbound_event_id")
_type: Callable[[Item], Any] = itemgetter("type")
_event_type: Callable[[Item], Any] = itemgetter("event_type")
_header_id: Callable[[Scanned], Any] = attrgetter("event_id")


def _plain_segment(source: Source, items: Sequence[Item]) -> Found | None:
    """The columns at C speed; None where an item needs a closer look."""
    try:
        ids, types = list(map(_message_id, items)), list(map(_type, items))
    except KeyError:
        return None
    if not normalise.are_short_ids(ids) or not normalise.are_segment_types(types) or _any_has(items, "batch"):
        return None
    return ids, ["body.messageId"] * len(ids), ids, _typed(source, types)


def _plain_webhook(source: Source, scanned: Sequence[Scanned], items: Sequence[Item]) -> Found | None:
    """The same for webhooks without a provider's id."""
    try:
        ids, types = list(map(_event_id, items)), list(map(_event_type, items))
    except KeyError:
        return None
    if not normalise.are_short_ids(ids) or not normalise.are_short_types(types):
        return None
    if _any_has(items, "id") or _any_has(items, "provider_event_id") or any(map(_header_id, scanned)):
        return None
    return ids, ["body.inbound_event_id"] * len(ids), [None] * len(ids), _typed(source, types)


def _any_has(items: Sequence[Item], key: str) -> bool:
    return any(map(contains, items, repeat(key)))


def _typed(source: Source, types: list[str]) -> list[str]:
    return [source.event_type_override] * len(types) if source.event_type_override else types


def _careful(
    source: Source, requests: Sequence[R], items: Sequence[Item]
) -> tuple[list[R], list[Item], Found, list[R]]:
    """The same one by one: those that are events, and the others."""
    taken: list[R] = []
    kept: list[Item] = []
    rows: list[normalise.Found] = []
    left: list[R] = []
    for request, item in zip(requests, items, strict=True):
        found = normalise.alone(source, request.head.scanned.event_id, item)
        if isinstance(found, str):
            left.append(request)
        else:
            taken.append(request)
            kept.append(item)
            rows.append(found)
    return taken, kept, ([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], [r[3] for r in rows]), left
