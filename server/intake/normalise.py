"""From a parsed body to a delivery: which items are events, their ids and types. Decided once and stored.

Where an id was found (`id_from`): `body.inbound_event_id`, `body.messageId`, `header.NAME`, `hash` or `generated`.
An id header applies only to a body that is one object. A bad one is an error only if it would be the event's id; as
the provider's id, which is optional, it counts as absent.
"""

import hashlib
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import orjson

from server.base.refusal import Refusal, refuse
from server.base.source import Source
from server.intake.headers import HeaderId, Scanned
from storage.deliveries import GENERATED, PAYLOAD_KEY, WHOLE_ITEM, Deliveries, Rejection

ID_BYTES_MAX = 512
TYPE_BYTES_MAX = 256
SENT_AT_BYTES_MAX = 64
"""An RFC 3339 timestamp takes 35 at most; anything longer is not one, and is not kept beside the body."""

SEGMENT_TYPES = frozenset(("track", "identify", "page", "screen", "group", "alias"))

FROM_EVENT_ID = "body.inbound_event_id"
_FROM_MESSAGE_ID = "body.messageId"
"""Two of the values of `id_from`."""

_BAD_ID = f"must be a string of 1 to {ID_BYTES_MAX} bytes or an integer from 0 to 2^64 - 1"
_NO_MESSAGE_ID = "no messageId"
_NO_ID = "no inbound_event_id (a body's id is not one), and no id header"
_NO_ID_IN_BATCH = "no inbound_event_id (an item's id is not one, and an id header is for a body that is one object)"
_BAD_TYPE = f"event_type must be a string of 1 to {TYPE_BYTES_MAX} bytes"
_BAD_SEGMENT_TYPE = f"type must be one of {', '.join(sorted(SEGMENT_TYPES))}"


Item = dict[str, Any]
Columns = tuple[Sequence[str | None], Sequence[str], Sequence[str | None], Sequence[str], Sequence[str]]
"""Valid items column by column: ids, id_from, provider ids, types, payload_from."""
Row = tuple[str | None, str, str | None, str, str]
"""One valid item, with an entry for each column."""


def delivery(
    source: Source,
    scanned: Scanned,
    parsed: object,
    body: bytes,
    *,
    received_at_ms: int,
    remote_addr: str,
    batch_events_max: int,
) -> Deliveries | Refusal:
    """Return the delivery of a parsed body; `invalid_event` if no item is an event, `too_large` for too many."""
    items, batched = _items(source, parsed)
    if isinstance(items, str):
        return refuse("invalid_event", items)
    if len(items) > batch_events_max:
        return refuse("too_large", f"the batch holds more than {batch_events_max} items")
    columns, indexes, rejected = _batch(source, items) if batched else _one(source, scanned.event_id, items[0])
    if columns is None:
        return _no_event(rejected, batched)
    return Deliveries(
        source.id,
        source.type,
        [received_at_ms],
        [remote_addr],
        [scanned.kept],
        [sent_at(parsed) if source.type == "segment" else None],
        [batched],
        [len(items)],
        [rejected],
        [len(indexes)],
        [body],
        *columns[:4],
        indexes,
        columns[4],
    )


def _items(source: Source, parsed: object) -> tuple[list[object] | str, bool]:
    """Return the items, or why the body has none, and whether it is a batch."""
    if source.type == "webhook":
        if isinstance(parsed, list):
            return parsed, True
        return ([parsed], False) if isinstance(parsed, dict) else ("the body must be an object or an array", False)
    if not isinstance(parsed, dict):
        return "the body must be an object", False
    batch = parsed.get("batch")
    if batch is None:
        return [parsed], False
    return (batch, True) if isinstance(batch, list) else ("batch must be an array", True)


def _no_event(rejected: Sequence[Rejection], batched: bool) -> Refusal:
    if not rejected:
        return refuse("invalid_event", "the batch is empty")
    first = rejected[0][2]
    return refuse("invalid_event", f"no item is an event; the first: {first}" if batched else first)


def sent_at(parsed: object) -> str | None:
    """Return the `sentAt` of a Segment body; None unless it may be a timestamp."""
    value = parsed.get("sentAt") if isinstance(parsed, dict) else None
    return value if isinstance(value, str) and _fits(value, SENT_AT_BYTES_MAX) else None


def single_item(source: Source, header: HeaderId | None, item: Item) -> Row | str:
    """Return the row of an object that is a whole body, or why it is not a single event."""
    if source.type == "webhook":
        return _webhook_item(source, header, item, _NO_ID)
    return _segment_item(source, item) if item.get("batch") is None else "this is a batch"


Found = tuple[Columns | None, Sequence[int], Sequence[Rejection]]
"""The columns of the valid items (None if there are none), their indexes, and the rejected items."""


def _one(source: Source, header: HeaderId | None, item: Any) -> Found:
    found = single_item(source, header, item)
    if isinstance(found, str):
        return None, (), [(0, "invalid_event", found)]
    event_id, id_from, provider_id, kind, payload_from = found
    return ([event_id], [id_from], [provider_id], [kind], [payload_from]), [0], ()


def _batch(source: Source, items: Sequence[object]) -> Found:
    if source.type == "segment":
        columns = plain_segment(source, items)
        if columns is not None:
            return columns, list(range(len(items))), ()
        return _item_by_item(lambda item: _segment_item(source, item), items)
    return _item_by_item(lambda item: _webhook_item(source, None, item, _NO_ID_IN_BATCH), items)


def plain_segment(source: Source, items: Sequence[Any]) -> Columns | None:
    """Return the columns of items in the form that SDKs send, at C speed; None if one needs a closer look."""
    try:
        ids = list(map(_message_id, items))  # KeyError or TypeError if an item lacks the key or is not an object
        types = list(map(_type, items))
    except (KeyError, TypeError):
        return None
    if not are_short_ids(ids) or not _are_segment_types(types):
        return None
    count = len(ids)
    return ids, [_FROM_MESSAGE_ID] * count, ids, overridden(source, types), [WHOLE_ITEM] * count


def overridden(source: Source, types: list[str]) -> list[str]:
    """Return these types, or as many copies of the source's `event_type_override` if it is set."""
    return [source.event_type_override] * len(types) if source.event_type_override else types


def are_short_ids(values: Sequence[object]) -> bool:
    """Return whether all are ids so short that they fit whatever their characters. At C speed; not for no values."""
    return _are_short(values, ID_BYTES_MAX)


def are_short_types(values: Sequence[object]) -> bool:
    """Return the same for the types of webhook events."""
    return _are_short(values, TYPE_BYTES_MAX)


def _are_segment_types(values: Sequence[object]) -> bool:
    return set(map(type, values)) == {str} and SEGMENT_TYPES.issuperset(values)


def _are_short(values: Sequence[Any], bytes_max: int) -> bool:
    return set(map(type, values)) == {str} and all(values) and max(map(len, values)) <= bytes_max // 4


_message_id: Callable[[Any], Any] = itemgetter("messageId")
_type: Callable[[Any], Any] = itemgetter("type")


def _item_by_item(look: Callable[[Item], Row | str], items: Sequence[object]) -> Found:
    found: list[Row] = []
    indexes: list[int] = []
    rejected: list[Rejection] = []
    for index, item in enumerate(items):
        seen = look(item) if isinstance(item, dict) else "the item must be an object"
        if isinstance(seen, str):
            rejected.append((index, "invalid_event", seen))
        else:
            found.append(seen)
            indexes.append(index)
    return as_columns(found) if found else None, indexes, rejected


def as_columns(rows: Sequence[Row]) -> Columns:
    """Return the columns of these rows, of which there is at least one."""
    ids, id_from, provider_ids, types, payload_from = map(list, zip(*rows, strict=True))
    return ids, id_from, provider_ids, types, payload_from


def payload_from(item: Item) -> str:
    """Return where a webhook item has its payload."""
    return PAYLOAD_KEY if "payload" in item else WHOLE_ITEM


def _segment_item(source: Source, item: Item) -> Row | str:
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in SEGMENT_TYPES:
        return _BAD_SEGMENT_TYPE
    kind = source.event_type_override or kind
    value = item.get("messageId")
    if value is None:
        return _without_id(source, item, None, kind, WHOLE_ITEM) or _NO_MESSAGE_ID
    event_id = _text_id(value)
    if event_id is None:
        return f"messageId {_BAD_ID}"
    return event_id, _FROM_MESSAGE_ID, event_id, kind, WHOLE_ITEM


def _webhook_item(source: Source, header: HeaderId | None, item: Item, no_id: str) -> Row | str:
    kind = source.event_type_override or item.get("event_type")
    if kind is None:
        kind = "unknown"
    elif not isinstance(kind, str) or not _fits(kind, TYPE_BYTES_MAX):
        return _BAD_TYPE
    from_header = None if header is None or header.value is None else _text_id(header.value)
    provider_id = _provider_id(item) or from_header
    payload = payload_from(item)
    value = item.get("inbound_event_id")
    if value is not None:
        event_id = _text_id(value)
        if event_id is None:
            return f"inbound_event_id {_BAD_ID}"
        return event_id, FROM_EVENT_ID, provider_id, kind, payload
    if header is None:
        return _without_id(source, item, provider_id, kind, payload) or no_id
    if from_header is None:
        return f"header {header.name} must come once, as 1 to {ID_BYTES_MAX} bytes of UTF-8"
    return from_header, f"header.{header.name}", provider_id, kind, payload


def _provider_id(item: Item) -> str | None:
    return _text_id(item.get("provider_event_id")) or _text_id(item.get("id"))


def _without_id(source: Source, item: Item, provider_id: str | None, kind: str, payload: str) -> Row | None:
    """Apply `missing_event_id` to an item without an id; return None if it is rejected."""
    match source.missing_event_id:
        case "generate":
            return None, GENERATED, provider_id, kind, payload
        case "hash":
            written = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
            return hashlib.blake2b(written, digest_size=16).hexdigest(), "hash", provider_id, kind, payload
        case "reject":
            return None


def _text_id(value: object) -> str | None:
    """Return an id as a string; None if the value is not one. orjson returns no integer beyond 64 bits."""
    if isinstance(value, str):
        return value if _fits(value, ID_BYTES_MAX) else None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    return None


def _fits(text: str, bytes_max: int) -> bool:
    """Return whether the text has 1 to `bytes_max` bytes in UTF-8, in which a character takes 1 to 4."""
    size = len(text)
    return 0 < size <= bytes_max and (size * 4 <= bytes_max or len(text.encode()) <= bytes_max)
