"""The rules for one item: is it an event, and what are its ids, its type and its payload?

Where an id was found (`id_from`): `body.inbound_event_id`, `body.messageId`, `header.NAME`, `hash` or `generated`.
An id header applies only to a body that is one object. A bad one is an error only if it would be the event's id; as
the provider's id, which is optional, it counts as absent.
"""

from typing import Any

from server.base.source import Source
from server.intake.places import EVENT_ID, Place, Places, first
from storage.deliveries import GENERATED, PAYLOAD_KEY, WHOLE_ITEM

ID_BYTES_MAX = 512
TYPE_BYTES_MAX = 256

SEGMENT_TYPES = frozenset(("track", "identify", "page", "screen", "group", "alias"))

FROM_EVENT_ID = EVENT_ID.text
FROM_MESSAGE_ID = "body.messageId"
HASHED = "hash"
"""Three of the values of `id_from`."""

_PAYLOAD_SIBLINGS = ("inbound_event_id", "event_type", "provider_event_id")
"""One of these beside `payload` makes the item an envelope; without one, `payload` is a key of the sender's own."""

_BAD_ID = (
    f"must be a string of 1 to {ID_BYTES_MAX} bytes, without half a surrogate pair, or an integer from 0 to 2^64 - 1"
)
_NO_MESSAGE_ID = "no messageId"
_NO_ID = "no inbound_event_id (a body's id is not one), and no id header"
_NO_ID_IN_BATCH = "no inbound_event_id (an item's id is not one, and an id header is for a body that is one object)"
_BAD_HEADER_ID = f"must come once, as 1 to {ID_BYTES_MAX} bytes of UTF-8"
_BAD_TYPE = f"must be a string of 1 to {TYPE_BYTES_MAX} bytes"
_BAD_SEGMENT_TYPE = f"type must be one of {', '.join(sorted(SEGMENT_TYPES))}"

Item = dict[str, Any]
Row = tuple[str | None, str, str | None, str, str, str]
"""One valid item: id, id_from, provider's id, type, payload_from, unsigned. The id is None if it is HASHED or
GENERATED."""

SIGNED = ""
"""Nothing is unsigned; also without a signature."""
_UNSIGNED = {(False, False): SIGNED, (True, False): "event_id", (False, True): "event_type"}
_UNSIGNED[True, True] = "event_id,event_type"
"""By whether the id and the type came from a header outside of the signature."""


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
        id_from = _MISSING[source.missing_event_id]
        return (None, id_from, None, kind, WHOLE_ITEM, SIGNED) if id_from else _NO_MESSAGE_ID
    event_id = _text_id(value)
    if event_id is None:
        return f"messageId {_BAD_ID}"
    return event_id, FROM_MESSAGE_ID, event_id, kind, WHOLE_ITEM, SIGNED


def webhook_item(source: Source, places: Places, item: Item, index: int | None = None) -> Row | str:
    """Return the same for a webhook's item. `index`: its own, if there are several."""
    type_place, kind = first(places.types, item) or (None, "unknown")
    if source.event_type_override:
        type_place, kind = None, source.event_type_override
    if not isinstance(kind, str) or not fits(kind, TYPE_BYTES_MAX):
        return f"{_words(type_place)} {_BAD_TYPE}"
    id_place, value = first(places.ids, item) or (None, None)
    if id_place is None:
        event_id, id_from = None, _MISSING[source.missing_event_id]
        if not id_from:
            return _no_id(places)
    else:
        event_id, id_from = _found_id(id_place, value, index), id_place.text
        if event_id is None:
            return f"{_words(id_place)} {_BAD_ID if id_place.keys else _BAD_HEADER_ID}"
    unsigned = _UNSIGNED[bool(id_place and id_place.is_unsigned), bool(type_place and type_place.is_unsigned)]
    return event_id, id_from, _provider_id(places, item, event_id), kind, payload_from(item), unsigned


_MISSING = {"generate": GENERATED, "hash": HASHED, "reject": ""}
"""`id_from` of an item without an id, by `missing_event_id`; "" if it is no event. Its hash is not made here."""


def _found_id(place: Place, value: object, index: int | None) -> str | None:
    """Return the id; None if it cannot be one. A header's is that of all items, so each gets its index."""
    found = _text_id(value)
    if found is None or place.keys or index is None:
        return found
    return _text_id(f"{found}#{index}")


def _provider_id(places: Places, item: Item, event_id: str | None) -> str | None:
    """Return the provider's id, which is optional: a bad one counts as absent."""
    if not places.is_general:
        return event_id
    in_header = next((place.value for place in places.ids if not place.keys), None)
    return _text_id(item.get("provider_event_id")) or _text_id(item.get("id")) or _text_id(in_header)


def _words(place: Place | None) -> str:
    """Return what people call a place."""
    if place is None:
        return "the type"
    return ".".join(place.keys) if place.keys else f"header {place.text.partition('.')[2]}"


def _no_id(places: Places) -> str:
    if not places.is_general:
        return f"no id: neither {' nor '.join(place.text for place in places.ids)} is there"
    return _NO_ID_IN_BATCH if places.batched else _NO_ID


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
