"""Deliveries of one event each that came together: columns in a log record, deliveries for whoever reads them."""

from collections.abc import Sequence
from typing import Any

from storage.codec.records import delivery_ids
from storage.model import Columns, Facts, Singles, Stored

_FIRST = (0,)


def deliveries(singles: Singles) -> list[Stored]:
    """Each by itself."""
    columns = singles.columns
    numbers = range(singles.first, singles.first + singles.count)
    rows = zip(
        columns.remote_addrs,
        columns.headers,
        columns.ids,
        columns.id_from,
        columns.provider_ids,
        columns.types,
        columns.sent_at,
        strict=True,
    )
    facts = [
        Facts(
            source_id=columns.source_id,
            source_type=columns.source_type,
            received_at_ms=columns.received_at_ms,
            remote_addr=address,
            headers=headers,
            batched=False,
            batch_size=1,
            ids=[event_id],
            id_from=[id_from],
            provider_ids=[provider_id],
            types=[kind],
            indexes=_FIRST,
            rejected=(),
            sent_at=sent_at,
        )
        for address, headers, event_id, id_from, provider_id, kind, sent_at in rows
    ]
    parts = zip(numbers, delivery_ids(singles), facts, columns.bodies, strict=True)
    return [Stored(number, identity, own, body) for number, identity, own, body in parts]


def entry_of(singles: Singles) -> dict[str, object]:
    """The entry in a log record, but for the bodies. What is alike for all is written once."""
    columns = singles.columns
    return {
        "suffix": singles.suffix,
        "sizes": [len(body) for body in columns.bodies],
        "type": columns.source_type,
        "at": columns.received_at_ms,
        "from": fold(columns.remote_addrs),
        "headers": fold(columns.headers),
        "ids": fold(columns.ids),
        "id_from": fold(columns.id_from),
        "providers": True if columns.provider_ids == columns.ids else fold(columns.provider_ids),
        "types": fold(columns.types),
        "sent_at": fold(columns.sent_at),
    }


def from_entry(entry: dict[str, Any], source_id: str, first: int, bodies: list[bytes]) -> Singles:
    """What `entry_of` wrote, with the bodies of these sizes, and without looking at what else there is."""
    count = len(bodies)
    ids = unfold(entry["ids"], count)
    columns = Columns(
        source_id=source_id,
        source_type=entry["type"],
        received_at_ms=entry["at"],
        remote_addrs=unfold(entry["from"], count),
        headers=unfold(entry["headers"], count),
        ids=ids,
        id_from=unfold(entry["id_from"], count),
        provider_ids=ids if entry["providers"] is True else unfold(entry["providers"], count),
        types=unfold(entry["types"], count),
        sent_at=unfold(entry["sent_at"], count),
        bodies=bodies,
    )
    return Singles(first, entry["suffix"], columns)


def fold(values: Sequence[object]) -> object:
    """One value, which is no list, where all are the same; else the list."""
    return values[0] if values.count(values[0]) == len(values) else list(values)


def unfold(value: Any, count: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * count
