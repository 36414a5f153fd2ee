"""Where a source's ids and types are looked for in one request: what its headers have, and the keys in each item."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from server.base.source import FieldPath, SchemeName, Source
from server.intake.headers import HeaderId, Scanned, utf8, values_of
from server.intake.schemes import SCHEMES

CACHED_MAX = 512
"""Names of headers worked out from configurations, which many requests need again."""

BAD = False
"""What stands where something is that can be neither an id nor a type."""


class Place(NamedTuple):
    """One of the paths of a source."""

    text: str
    """As configured; of a header, the one that was looked at."""
    keys: tuple[str, ...]
    """To follow in an item; () for a header."""
    value: object
    """Of the header; None if it is not there."""
    is_unsigned: bool
    """Whether the body's signature says nothing of it."""


class Places(NamedTuple):
    """Where the items of one request have their ids and types; the first that is there and not null counts."""

    ids: Sequence[Place]
    types: Sequence[Place]
    is_general: bool
    """Whether ids are found by the general rule, by which the provider's id is another than the event's."""
    batched: bool = False


EVENT_ID = Place("body.inbound_event_id", ("inbound_event_id",), None, is_unsigned=False)
EVENT_TYPE = Place("body.event_type", ("event_type",), None, is_unsigned=False)
BODY_ID, BODY_TYPE = (EVENT_ID,), (EVENT_TYPE,)
GENERAL = Places(BODY_ID, BODY_TYPE, is_general=True)
"""Without an id header."""
GENERAL_IN_BATCH = GENERAL._replace(batched=True)


def header_names(source: Source) -> Collection[bytes]:
    """Return the headers in which it may have ids and types, of all families of its scheme."""
    return _header_names(source.signature, source.event_id_from, source.event_type_from)


@lru_cache(maxsize=CACHED_MAX)
def _header_names(signature: SchemeName, ids: Sequence[FieldPath], types: Sequence[FieldPath]) -> Collection[bytes]:
    families = SCHEMES[signature].families
    names = [path.header for path in (*ids, *types) if path.header]
    return frozenset(_in_family(name, families, family) for name in names for family in (*families, ""))


def places_of(source: Source, scanned: Scanned, family: str = "", *, batched: bool = False) -> Places:
    """Return where ids and types of this request are. `family`: that of the headers by which it was verified."""
    header = None if batched else scanned.event_id
    if not source.has_paths:
        if header is None:
            return GENERAL_IN_BATCH if batched else GENERAL
        return Places((EVENT_ID, _id_header(source, header)), BODY_TYPE, is_general=True)
    scheme = SCHEMES[source.signature]
    values = values_of(scanned, header_names(source))

    def place(path: FieldPath) -> Place:
        if not path.header:
            return Place(path.text, path.keys, None, is_unsigned=False)
        name = _in_family(path.header, scheme.families, family)
        value: object = None
        if name in values:
            written = values[name]
            value = BAD if written is None else utf8(written) or BAD
        is_unsigned = bool(source.signing_keys) and name not in scheme.signed_headers
        return Place(f"header.{name.decode()}", (), value, is_unsigned)

    types = [place(path) for path in source.event_type_from] or BODY_TYPE
    if source.event_id_from:
        return Places([place(path) for path in source.event_id_from], types, is_general=False, batched=batched)
    ids = BODY_ID if header is None else (EVENT_ID, _id_header(source, header))
    return Places(ids, types, is_general=True, batched=batched)


def _id_header(source: Source, header: HeaderId) -> Place:
    value = BAD if header.value is None else header.value
    return Place(f"header.{header.name}", (), value, is_unsigned=bool(source.signing_keys))


def first(candidates: Sequence[Place], item: dict[str, Any]) -> tuple[Place, object] | None:
    """Return the first of these places in which something other than null is, with that."""
    for place in candidates:
        value = follow(item, place.keys) if place.keys else place.value
        if value is not None:
            return place, value
    return None


def follow(item: dict[str, Any], keys: Sequence[str]) -> object:
    """Return what is under these keys of objects, None if there is nothing."""
    found: Any = item
    for key in keys:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found


def spoil(item: dict[str, Any], keys: Sequence[str]) -> None:
    """Put what is neither an id nor a type under these keys."""
    holder = follow(item, keys[:-1])
    if isinstance(holder, dict):
        holder[keys[-1]] = BAD


@lru_cache(maxsize=CACHED_MAX)
def _in_family(name: bytes, families: Sequence[str], family: str) -> bytes:
    """Return the name as the headers of this family have it, if it is one of any of them: no other family is read."""
    own = next((each for each in families if family and name.startswith(each.encode())), "")
    return family.encode() + name[len(own) :] if own else name
