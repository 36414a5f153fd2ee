"""Events as lists show them: the same facts for the commands and the admin side, as JSON-able values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, repeat

from server.base.aside import give_way
from server.base.json_text import json_text
from server.intake.events import each_event, rfc3339
from server.observe.receipts import Value, archive, discarded
from storage.deliveries import NumberedDeliveries
from storage.model import EventRecord
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.scan import PAGE_EVENTS_MAX, PAGE_LOOKS_MAX, EventPage
from storage.statuses import PENDING_STATUSES, EventStatus, outcome_of

Text = tuple[int, bytes]
"""An event's number, and what lists show of it as JSON."""

COLUMNS = (
    "number",
    "received_at",
    "source_config_id",
    "inbound_event_id",
    "provider_event_id",
    "event_type",
    "outcome",
    "finished_at",
    "attempts",
    "delivery",
    "batch_index",
    "duplicate_of",
    "error",
)
"""Of a table of values that has a place for each; a payload is one more."""


def page_of(
    reader: Reader,
    query: EventQuery,
    *,
    payloads: bool = False,
    events_max: int = PAGE_EVENTS_MAX,
    looks_max: int = PAGE_LOOKS_MAX,
    known: Sequence[NumberedDeliveries] = (),
) -> tuple[Iterator[Value], EventPage]:
    """Return the next page of a query: its values, each made when it is asked for, and the page as it was read.
    `payloads`: they are among the values. `known`: as `Reader.select` takes it."""
    page = reader.select(
        query, build=each_event, bodies=payloads, events_max=events_max, looks_max=looks_max, known=known
    )
    return _values(page.records, payloads=payloads), page


def texts_of(
    reader: Reader,
    query: EventQuery,
    *,
    payloads: bool,
    events_max: int,
    looks_max: int,
    bytes_max: int,
    known: Sequence[NumberedDeliveries] = (),
) -> tuple[list[Text], EventQuery | None, int]:
    """Return the next page of a query, each event with its number and as JSON, the query for what comes next, and how
    many events were looked at. A page ends behind the event whose text is the first that exceeds `bytes_max`."""
    values, page = page_of(reader, query, payloads=payloads, events_max=events_max, looks_max=looks_max, known=known)
    found: list[Text] = []
    size = 0
    for record, value in zip(page.records, values, strict=True):
        text = json_text(value)
        found.append((record.number, text))
        size += len(text)
        if size > bytes_max and len(found) < len(page.records):
            return found, query.behind(record.number), page.looked
    return found, page.following, page.looked


def _values(records: Sequence[EventRecord], *, payloads: bool) -> Iterator[Value]:
    for record, payload in _with_payloads(records) if payloads else zip(records, repeat(None), strict=False):
        give_way()
        value = event_value(record)
        yield value | {"payload": payload} if payloads else value


def _with_payloads(records: Iterable[EventRecord]) -> Iterator[tuple[EventRecord, object]]:
    """Yield each with its payload, None where its body has left. A body is parsed once for all neighbours of its
    delivery."""
    for _, group in groupby(records, key=lambda record: id(record.numbered)):
        those = list(group)
        events = each_event(those[0].numbered, [record.position for record in those])
        for record, event in zip(those, events, strict=True):
            yield record, event["payload"] if record.has_body else None


def event_value(record: EventRecord) -> Value:
    """Return what lists show of an event, without its payload. `outcome` is `pending` or `deferred` while there is
    none."""
    numbered, position = record.numbered, record.position
    delivery = numbered.deliveries
    found: Value = {
        "number": record.number,
        "received_at": rfc3339(record.received_at_ms),
        "source_config_id": delivery.source_id,
        "inbound_event_id": numbered.event_id(position),
        "provider_event_id": delivery.provider_ids[position],
        "event_type": delivery.types[position],
        "outcome": outcome_of(record.status).label,
        "finished_at": None if record.status in PENDING_STATUSES else rfc3339(record.at_ms),
        "attempts": record.attempts,
        "delivery": record.delivery_id,
        "batch_index": delivery.indexes[position],
    }
    if record.status is EventStatus.DUPLICATE:
        found["duplicate_of"] = record.duplicate_of
    if outcome_of(record.status) is EventStatus.DEAD:
        found |= {"error": record.detail.get("error")} | discarded(record)
    if delivery.replay_of:
        found["replay_of"] = delivery.replay_of[position]
    return found | archive(record)


def as_lines(values: Iterable[object]) -> bytes:
    """Return them as JSON, one a line."""
    return b"".join(json_text(value) + b"\n" for value in values)


def cells(value: Mapping[str, object], columns: Sequence[str]) -> list[object]:
    """Return the columns of an event; what is not a text or a number is written as JSON."""
    found = [value.get(column) for column in columns]
    return [json_text(each).decode() if isinstance(each, dict | list | bool) else each for each in found]
