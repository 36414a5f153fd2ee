"""The rules for one item: is it an event, and what are its ids, its type and its payload?

Where an id was found (`id_from`): `body.inbound_event_id`, `body.messageId`, `header.NAME`, `hash` or `generated`.
An id header applies only to a body that is one object. A bad one is an error only if it would be the event's id; as
the provider's id, which is optional, it counts as absent.
"""

from typing import Any

from server.base.source import Source
from server.intake.headers import HeaderId
from storage.deliveries import GENERATED, PAYLOAD_KEY, WHOLE_ITEM

ID_BYTES_MAX = 512
TYPE_BYTES_MAX = 256

SEGMENT_TYPES = frozenset(("track", "identify", "page", "screen", "group", "alias"))

FROM_EVENT_ID = "body.inbound_event_id"
FROM_MESSAGE_ID = "body.messageId"
HASHED = "hash"
"""Three of the values of `id_from`."""

_PAYLOAD_SIBLINGS = ("inbound_event_id", "event_type", "provider_event_id")
"""One of these beside `payload` makes the item an envelope; without one, `payload` is a key of the sender's own."""

_BAD_ID = (
    f"must be a string of 1 to {ID_BYTES_MAX} bytes, without half a surrogate pair, or an integer from 0 to 2^64 - 1"
)
_NO_MESSAGE_ID = "no messageId"
NO_ID = "no inbound_event_id (a body's id is not one), and no id header"
NO_ID_IN_BATCH = "no inbound_event_id (an item's id is not one, and an id header is for a body that is one object)"
_BAD_TYPE = f"event_type must be a string of 1 to {TYPE_BYTES_MAX} bytes"
_BAD_SEGMENT_TYPE = f"type must be one of {', '.join(sorted(SEGMENT_TYPES))}"

Item = dict[str, Any]
Row = tuple[str | None, str, str | None, str, str]
"""One valid item: id, id_from, provider's id, type, payload_from. The id is None if it is HASHED or GENERATED."""


def payload_from(item: Item) -> str:
    """Return where a webhook item has its payload."""
    if "payload" not in item or all(item.get(key) is None for key in _PAYLOAD_SIBLINGS):
        return WHOLE_ITEM
    return PAYLOAD_KEY


def segment_item(source: Source, item: Item) -> Row | str:
    """Return the row of an item of a Segment body, or why it is not an event."""
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in SEGMENT_TYPES:
        return _BAD_SEGMENT_TYPE
    kind = source.event_type_override or kind
    value = item.get("messageId")
    if value is None:
        return _without_id(source, None, kind, WHOLE_ITEM) or _NO_MESSAGE_ID
    event_id = _text_id(value)
    if event_id is None:
        return f"messageId {_BAD_ID}"
    return event_id, FROM_MESSAGE_ID, event_id, kind, WHOLE_ITEM


def webhook_item(source: Source, header: HeaderId | None, item: Item, no_id: str) -> Row | str:
    """Return the same for a webhook's item. `no_id` says what was looked for if an id is missing."""
    kind = source.event_type_override or item.get("event_type")
    if kind is None:
        kind = "unknown"
    elif not isinstance(kind, str) or not fits(kind, TYPE_BYTES_MAX):
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
        return _without_id(source, provider_id, kind, payload) or no_id
    if from_header is None:
        return f"header {header.name} must come once, as 1 to {ID_BYTES_MAX} bytes of UTF-8"
    return from_header, f"header.{header.name}", provider_id, kind, payload


def _provider_id(item: Item) -> str | None:
    return _text_id(item.get("provider_event_id")) or _text_id(item.get("id"))


def _without_id(source: Source, provider_id: str | None, kind: str, payload: str) -> Row | None:
    """Apply `missing_event_id` to an item without an id; return None if it is rejected. Its hash is not made here."""
    match source.missing_event_id:
        case "generate":
            return None, GENERATED, provider_id, kind, payload
        case "hash":
            return None, HASHED, provider_id, kind, payload
        case "reject":
            return None


def _text_id(value: object) -> str | None:
    """Return an id as a string; None if the value is not one. orjson returns no integer beyond 64 bits."""
    if isinstance(value, str):
        return value if fits(value, ID_BYTES_MAX) else None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    return None


def fits(text: str, bytes_max: int) -> bool:
    """Return whether the text has 1 to `bytes_max` bytes in UTF-8, in which a character takes 1 to 4."""
    size = len(text)
    return 0 < size <= bytes_max and (size * 4 <= bytes_max or len(text.encode()) <= bytes_max)
