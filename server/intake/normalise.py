"""From a parsed body to a delivery: which items are events, their ids and types. Decided once and stored.

The rules for one item are in `items.py`; here are bodies and batches, and the quick way for items as SDKs send them.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from server.base.refusal import Refusal, refuse
from server.base.source import Source
from server.intake.batches import list_name
from server.intake.content_hash import content_hashes
from server.intake.headers import Scanned
from server.intake.items import (
    FROM_MESSAGE_ID,
    HASHED,
    ID_BYTES_MAX,
    SEGMENT_TYPES,
    SIGNED,
    TYPE_BYTES_MAX,
    Item,
    Row,
    fits,
    segment_item,
    webhook_item,
)
from server.intake.parse import Body
from server.intake.places import Places, follow, places_of, spoil
from storage.deliveries import WHOLE_ITEM, Deliveries, Rejection

SENT_AT_BYTES_MAX = 64
"""An RFC 3339 timestamp takes 35 at most; anything longer is not one, and is not kept beside the body."""

_ID_KEYS = (("inbound_event_id",), ("messageId",), ("provider_event_id",), ("id",))

Columns = tuple[Sequence[str | None], Sequence[str], Sequence[str | None], Sequence[str], Sequence[str], Sequence[str]]
"""Valid items column by column: ids, id_from, provider ids, types, payload_from, unsigned."""


def delivery(
    source: Source,
    scanned: Scanned,
    body: Body,
    *,
    received_at_ms: int,
    remote_addr: str,
    batch_events_max: int,
    family: str = "",
) -> Deliveries | Refusal:
    """Return the delivery of a parsed body; `invalid_event` if no item is an event, `too_large` for too many.

    `family`: that of the headers by which it was verified.
    """
    items, batched = _items(source, body.value)
    if isinstance(items, str):
        return refuse("invalid_event", items)
    if len(items) > batch_events_max:
        return refuse("too_large", f"the batch holds more than {batch_events_max} items")
    if body.as_sent is not None:
        _spoil_cut_ids(source, items, _items(source, body.other_value)[0])
    places = places_of(source, scanned, family, batched=batched)
    columns, indexes, rejected = _batch(source, places, items, body) if batched else _one(source, places, body)
    if columns is None:
        return _no_event(rejected, batched)
    return Deliveries(
        source.id,
        source.type,
        [received_at_ms],
        [remote_addr],
        [scanned.kept],
        [_sent_at(body.value, items) if source.type == "segment" else None],
        [batched],
        [len(items)],
        [rejected],
        [len(indexes)],
        [body.text],
        *columns[:4],
        indexes,
        *columns[4:],
    )


def _items(source: Source, parsed: object) -> tuple[list[object] | str, bool]:
    """Return the items, or why the body has none, and whether it is a batch."""
    name = list_name(source)
    if not name and isinstance(parsed, list):
        return parsed, True
    if not isinstance(parsed, dict):
        return "the body must be an object" if name else "the body must be an object or an array", False
    batch = parsed.get(name) if name else None
    if batch is None:
        return [parsed], False
    return (batch, True) if isinstance(batch, list) else (f"{name} must be an array", True)


def _spoil_cut_ids(source: Source, items: Sequence[object], others: Sequence[object] | str) -> None:
    """Make what differs under another repair not an id: two ids cut at different halves must not become one."""
    paths = [path.keys for path in source.event_id_from if path.keys]
    for item, other in zip(items, others, strict=True):
        if isinstance(item, dict) and isinstance(other, dict):
            for keys in (*_ID_KEYS, *paths):
                if follow(item, keys) != follow(other, keys):
                    spoil(item, keys)


def _no_event(rejected: Sequence[Rejection], batched: bool) -> Refusal:
    if not rejected:
        return refuse("invalid_event", "the batch is empty")
    first = rejected[0][2]
    return refuse("invalid_event", f"no item is an event; the first: {first}" if batched else first)


def _sent_at(parsed: object, items: Sequence[object]) -> str | None:
    """Return when a Segment body was sent, by itself or by its first item."""
    return sent_at(parsed) or next(map(sent_at, items[:1]), None)


def sent_at(parsed: object) -> str | None:
    """Return the `sentAt` of a Segment body; None unless it may be a timestamp."""
    value = parsed.get("sentAt") if isinstance(parsed, dict) else None
    return value if isinstance(value, str) and fits(value, SENT_AT_BYTES_MAX) else None


def single_item(source: Source, places: Places, body: Body) -> Row | str:
    """Return the row of a body that is an object, or why it is not a single event."""
    item: Any = body.value
    if source.type == "webhook":
        row = webhook_item(source, places, item)
    else:
        row = segment_item(source, item) if item.get("batch") is None else "this is a batch"
    if isinstance(row, str) or row[1] != HASHED:
        return row
    [event_id] = content_hashes(body, [0], batched=False)
    return event_id, *row[1:]


Found = tuple[Columns | None, Sequence[int], Sequence[Rejection]]
"""The columns of the valid items (None if there are none), their indexes, and the rejected items."""


def _one(source: Source, places: Places, body: Body) -> Found:
    row = single_item(source, places, body)
    if isinstance(row, str):
        return None, (), [(0, "invalid_event", row)]
    return as_columns([row]), [0], ()


def _batch(source: Source, places: Places, items: Sequence[object], body: Body) -> Found:
    if source.type == "segment":
        columns = plain_segment(source, items)
        if columns is not None:
            return columns, list(range(len(items))), ()
        rows, indexes, rejected = _item_by_item(lambda item, _: segment_item(source, item), items)
    else:
        several = len(items) > 1
        rows, indexes, rejected = _item_by_item(
            lambda item, index: webhook_item(source, places, item, index if several else None), items
        )
    return _named_by_content(source, as_columns(rows), indexes, body) if rows else None, indexes, rejected


def _named_by_content(source: Source, columns: Columns, indexes: Sequence[int], body: Body) -> Columns:
    """Give each event of a batch that is to have a hash for its id this id."""
    ids, id_from = columns[:2]
    hashed = [at for at, found in enumerate(id_from) if found == HASHED]
    if not hashed:
        return columns
    places = [indexes[at] for at in hashed]
    found = content_hashes(body, places, batched=True, list_name=list_name(source))
    hashes = dict(zip(hashed, found, strict=True))
    return [hashes.get(at, event_id) for at, event_id in enumerate(ids)], *columns[1:]


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
    return ids, [FROM_MESSAGE_ID] * count, ids, overridden(source, types), [WHOLE_ITEM] * count, [SIGNED] * count


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


def _item_by_item(
    look: Callable[[Item, int], Row | str], items: Sequence[object]
) -> tuple[list[Row], list[int], list[Rejection]]:
    found: list[Row] = []
    indexes: list[int] = []
    rejected: list[Rejection] = []
    for index, item in enumerate(items):
        seen = look(item, index) if isinstance(item, dict) else "the item must be an object"
        if isinstance(seen, str):
            rejected.append((index, "invalid_event", seen))
        else:
            found.append(seen)
            indexes.append(index)
    return found, indexes, rejected


def as_columns(rows: Sequence[Row]) -> Columns:
    """Return the columns of these rows, of which there is at least one."""
    ids, id_from, provider_ids, types, payload_from, unsigned = map(list, zip(*rows, strict=True))
    return ids, id_from, provider_ids, types, payload_from, unsigned
