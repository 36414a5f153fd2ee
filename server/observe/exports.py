"""Events as an export has them: each a value, the same in every format."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from server.base.json_text import json_text
from server.intake.events import each_event, rfc3339
from server.observe.receipts import Value, archive, discarded
from storage.model import EventRecord
from storage.statuses import PENDING_STATUSES, EventStatus, outcome_of


class Cells(NamedTuple):
    """An event where each value has a place: None where there is none, and JSON as a text where one may be nested."""

    number: int
    outcome: str
    finished_at: str | None
    attempts: int
    inbound_event_id: str
    source_config_id: str
    source_type: str
    provider_event_id: str | None
    event_type: str
    received_at: str
    payload: str | None
    headers: str
    meta: str
    result: str | None = None
    duplicate_of: str | None = None
    error: str | None = None
    discarded_at: str | None = None
    archive: str | None = None
    archive_expired_at: str | None = None
    forgotten_at: str | None = None


COLUMNS = Cells._fields

ALWAYS = tuple(column for column in COLUMNS if column not in Cells._field_defaults)
"""What every event has; the others where they apply."""

NUMBERS = ("number", "attempts")
TIMES = ("finished_at", "received_at", "discarded_at", "archive_expired_at", "forgotten_at")
JSON_TEXTS = ("payload", "headers", "meta", "result")
"""The columns that are JSON in a text; the others are text."""


def export_rows(records: Sequence[EventRecord]) -> Iterator[Value]:
    """Yield the normalised events of these records, in their order, with what became of each in front.

    A body is read once for all neighbours of its delivery.
    """
    for _, group in groupby(records, key=lambda record: id(record.numbered)):
        those = list(group)
        results = {each.position: each.detail["result"] for each in those if "result" in each.detail}
        events = each_event(those[0].numbered, [each.position for each in those], results)
        for record, event in zip(those, events, strict=True):
            yield _row(record, event)


def _row(record: EventRecord, event: Mapping[str, object]) -> Value:
    row: Value = {
        "number": record.number,
        "outcome": outcome_of(record.status).label,
        "finished_at": None if record.status in PENDING_STATUSES else rfc3339(record.at_ms),
        "attempts": record.attempts,
        **event,
    }
    if not record.has_body:
        row["payload"] = None
    if record.status is EventStatus.DUPLICATE:
        row["duplicate_of"] = record.duplicate_of
    if outcome_of(record.status) is EventStatus.DEAD:
        row |= {"error": record.detail.get("error")} | discarded(record)
    row.update(archive(record))
    return row


def cells(row: Value) -> Cells:
    """Return a row as formats write it that have a place for each value."""
    texts = {column: json_text(row[column]).decode() for column in JSON_TEXTS if row.get(column) is not None}
    values: Iterator[Any] = map((row | texts).get, COLUMNS)
    return Cells(*values)
