"""From the parsed body to facts: which items are events, their ids and types. Decided once and stored.

Where an id was found (`id_from`): `body.inbound_event_id`, `body.messageId`, `header.NAME`, `hash` or `generated`.
An id header belongs to a body that is one object. It is an error only where it would be the event's id; as the
provider's id, which may be missing, a bad one counts as absent.
"""

import hashlib
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import orjson

from server.base.refusal import Refusal, refuse
from server.base.source import Source
from server.intake.headers import HeaderId, Scanned
from storage.model import GENERATED, Facts

ID_BYTES_MAX = 512
TYPE_BYTES_MAX = 256
SENT_AT_BYTES_MAX = 64
"""A timestamp of RFC 3339 takes 35 at most; what is longer is none, and is not kept beside the body."""

SEGMENT_TYPES = frozenset(("track", "identify", "page", "screen", "group", "alias"))

_BAD_ID = f"must be a string of 1 to {ID_BYTES_MAX} bytes or an integer from 0 to 2^64 - 1"
_NO_MESSAGE_ID = "no messageId"
_NO_ID = "no inbound_event_id (a body's id is not one), and no id header"
_NO_ID_IN_BATCH = "no inbound_event_id (an item's id is not one, and an id header is for a body that is one object)"
_BAD_TYPE = f"event_type must be a string of 1 to {TYPE_BYTES_MAX} bytes"
_BAD_SEGMENT_TYPE = f"type must be one of {', '.join(sorted(SEGMENT_TYPES))}"


Found = tuple[str | None, str, str | None, str]
"""One good item: id, id_from, provider id, type."""


Columns = tuple[
    Sequence[str | None],
    Sequence[str],
    Sequence[str | None],
    Sequence[str],
    Sequence[int],
    Sequence[tuple[int, str, str]],
]
"""The good items column by column: ids, id_from, provider ids, types, indexes; and the others, as rejected."""


def facts(
    source: Source, scanned: Scanned, parsed: object, *, received_at_ms: int, remote_addr: str, batch_events_max: int
) -> Facts | Refusal:
    """The facts of a parsed body; `invalid_event` where no item is an event, `too_large` where there are too many."""
    items, batched = _items(source, parsed)
    if isinstance(items, str):
        return refuse("invalid_event", items)
    if len(items) > batch_events_max:
        return refuse("too_large", f"the batch holds more than {batch_events_max} items")
    columns = _columns(source, items) if batched else _one(source, scanned.event_id, items[0])
    if isinstance(columns, str):
        return refuse("invalid_event", columns)
    ids, id_from, provider_ids, types, indexes, rejected = columns
    if not types:
        return _no_event(rejected)
    return Facts(
        source_id=source.id,
        source_type=source.type,
        received_at_ms=received_at_ms,
        remote_addr=remote_addr,
        headers=scanned.kept,
        batched=batched,
        batch_size=len(items),
        ids=ids,
        id_from=id_from,
        provider_ids=provider_ids,
        types=types,
        indexes=indexes,
        rejected=rejected,
        sent_at=sent_at(parsed) if source.type == "segment" else None,
    )


def _items(source: Source, parsed: object) -> tuple[list[object] | str, bool]:
    """The items and whether they came as a batch; words instead of items where the body has no such shape."""
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


def _no_event(rejected: Sequence[tuple[int, str, str]]) -> Refusal:
    if not rejected:
        return refuse("invalid_event", "the batch is empty")
    return refuse("invalid_event", f"no item is an event; the first: {rejected[0][2]}")


def sent_at(parsed: object) -> str | None:
    """The `sentAt` of a body of Segment's, where it can be a timestamp."""
    value = parsed.get("sentAt") if isinstance(parsed, dict) else None
    return value if isinstance(value, str) and _fits(value, SENT_AT_BYTES_MAX) else None


def alone(source: Source, header: HeaderId | None, item: Any) -> Found | str:
    """What is found in an object that is a body by itself, or why it is no event that comes alone."""
    if source.type == "webhook":
        return _webhook_item(source, header, item, _NO_ID)
    return _segment_item(source, item) if item.get("batch") is None else "this is a batch"


def _one(source: Source, header: HeaderId | None, item: Any) -> Columns | str:
    found = alone(source, header, item)
    if isinstance(found, str):
        return found
    event_id, id_from, provider_id, kind = found
    return [event_id], [id_from], [provider_id], [kind], _FIRST, ()


_FIRST = (0,)


def _columns(source: Source, items: list[object]) -> Columns:
    if source.type == "segment":
        return _plain_segment(source, items) or _careful(lambda item: _segment_item(source, item), items)
    return _careful(lambda item: _webhook_item(source, None, item, _NO_ID_IN_BATCH), items)


def _plain_segment(source: Source, items: list[object]) -> Columns | None:
    """The columns of a batch that is as all SDKs send it, at C speed; None where an item needs a closer look."""
    try:
        ids = list(map(_message_id, items))  # a KeyError or TypeError where an item is no object or lacks the key
        types = list(map(_type, items))
    except (KeyError, TypeError):
        return None
    if not are_short_ids(ids) or not are_segment_types(types):
        return None
    count = len(items)
    if source.event_type_override:
        types = [source.event_type_override] * count
    return ids, ["body.messageId"] * count, ids, types, list(range(count)), []


def are_short_ids(values: Sequence[object]) -> bool:
    """All are ids, and so short that they fit whatever their characters are. At C speed; there is one at least."""
    return _are_short(values, ID_BYTES_MAX)


def are_short_types(values: Sequence[object]) -> bool:
    """The same for types of webhook events."""
    return _are_short(values, TYPE_BYTES_MAX)


def are_segment_types(values: Sequence[object]) -> bool:
    """All are types of Segment's."""
    return set(map(type, values)) == {str} and SEGMENT_TYPES.issuperset(values)


def _are_short(values: Sequence[Any], bytes_max: int) -> bool:
    return set(map(type, values)) == {str} and all(values) and max(map(len, values)) <= bytes_max // 4


_message_id: Callable[[Any], Any] = itemgetter("messageId")
_type: Callable[[Any], Any] = itemgetter("type")


def _careful(look: Callable[[dict[str, object]], Found | str], items: list[object]) -> Columns:
    found: list[Found] = []
    indexes: list[int] = []
    rejected: list[tuple[int, str, str]] = []
    for index, item in enumerate(items):
        seen = look(item) if isinstance(item, dict) else "the item must be an object"
        if isinstance(seen, str):
            rejected.append((index, "invalid_event", seen))
        else:
            found.append(seen)
            indexes.append(index)
    ids, id_from, provider_ids, types = zip(*found, strict=True) if found else ((), (), (), ())
    return ids, id_from, provider_ids, types, indexes, rejected


def _segment_item(source: Source, item: dict[str, object]) -> Found | str:
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in SEGMENT_TYPES:
        return _BAD_SEGMENT_TYPE
    kind = source.event_type_override or kind
    value = item.get("messageId")
    if value is None:
        return _without_id(source, item, None, kind) or _NO_MESSAGE_ID
    event_id = _text_id(value)
    return f"messageId {_BAD_ID}" if event_id is None else (event_id, "body.messageId", event_id, kind)


def _webhook_item(source: Source, header: HeaderId | None, item: dict[str, object], no_id: str) -> Found | str:
    kind = source.event_type_override or item.get("event_type")
    if kind is None:
        kind = "unknown"
    elif not isinstance(kind, str) or not _fits(kind, TYPE_BYTES_MAX):
        return _BAD_TYPE
    from_header = None if header is None or header.value is None else _text_id(header.value)
    provider_id = _provider_id(item) or from_header
    value = item.get("inbound_event_id")
    if value is not None:
        event_id = _text_id(value)
        if event_id is None:
            return f"inbound_event_id {_BAD_ID}"
        return (event_id, "body.inbound_event_id", provider_id, kind)
    if header is None:
        return _without_id(source, item, provider_id, kind) or no_id
    if from_header is None:
        return f"header {header.name} must come once, as 1 to {ID_BYTES_MAX} bytes of UTF-8"
    return (from_header, f"header.{header.name}", provider_id, kind)


def _provider_id(item: dict[str, object]) -> str | None:
    return _text_id(item.get("provider_event_id")) or _text_id(item.get("id"))


def _without_id(source: Source, item: dict[str, object], provider_id: str | None, kind: str) -> Found | None:
    """`missing_event_id`, for an item in which no id was found; None: it is refused."""
    match source.missing_event_id:
        case "generate":
            return (None, GENERATED, provider_id, kind)
        case "hash":
            written = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
            return (hashlib.blake2b(written, digest_size=16).hexdigest(), "hash", provider_id, kind)
        case "reject":
            return None


def _text_id(value: object) -> str | None:
    """An id as a string; None where the value is none. orjson gives no integer beyond 64 bits."""
    if isinstance(value, str):
        return value if _fits(value, ID_BYTES_MAX) else None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    return None


def _fits(text: str, bytes_max: int) -> bool:
    """1 to `bytes_max` bytes of UTF-8; a character takes 1 to 4."""
    size = len(text)
    return 0 < size <= bytes_max and (size * 4 <= bytes_max or len(text.encode()) <= bytes_max)
