"""Conditions of a query on events themselves: on what was found at intake, and on events as they are built."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy

from storage.deliveries import NumberedDeliveries
from storage.read.query import EventQuery, Where

_PLACE = re.compile(r"0|[1-9][0-9]{0,17}")
"""In an array: RFC 6901 has no leading zeros, and no array so many places."""

Matching = Callable[[NumberedDeliveries, Sequence[int]], list[int]]


def conditions(query: EventQuery) -> Iterator[Matching]:
    """Yield what takes out those of some positions that do not match, the cheapest first."""
    if query.event_type is not None:
        yield lambda numbered, found: _equal(numbered.deliveries.types, query.event_type, found)
    if query.provider_id is not None:
        yield lambda numbered, found: _equal(numbered.deliveries.provider_ids, query.provider_id, found)
    if query.event_id is not None:
        yield lambda numbered, found: _equal(numbered.event_ids(), query.event_id, found)
    if query.id_prefix is not None:
        yield lambda numbered, found: _beginning(numbered.event_ids(), query.id_prefix or "", found)
    if query.since_ms is not None or query.until_ms is not None:
        yield lambda numbered, found: _received(numbered, query.since_ms, query.until_ms, found)


def _equal(column: Sequence[str | None], wanted: str | None, positions: Sequence[int]) -> list[int]:
    return [position for position in positions if column[position] == wanted]


def _beginning(column: Sequence[str], prefix: str, positions: Sequence[int]) -> list[int]:
    return [position for position in positions if column[position].startswith(prefix)]


def _received(
    numbered: NumberedDeliveries, since_ms: int | None, until_ms: int | None, positions: Sequence[int]
) -> list[int]:
    deliveries = numbered.deliveries
    times = numpy.repeat(deliveries.received_at_ms, deliveries.counts)[list(positions)]
    fits = (times >= (since_ms or 0)) & (times < (2**63 if until_ms is None else until_ms))
    return [position for position, each in zip(positions, fits.tolist(), strict=True) if each]


def has(event: Mapping[str, object], where: Where) -> bool:
    """Return whether the event has one of the wanted values at the path."""
    found: Any = event
    for key in where.path:
        if isinstance(found, Mapping):
            if key not in found:
                return False
            found = found[key]
        elif isinstance(found, list) and _PLACE.fullmatch(key) and int(key) < len(found):
            found = found[int(key)]
        else:
            return False
    return any(type(found) is type(each) and found == each for each in where.values)
