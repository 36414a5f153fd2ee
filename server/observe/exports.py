"""Events as an export has them: each a value, the same in every format."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from server.base.json_text import json_text
from server.intake.events import each_event, rfc3339
from server.observe.receipts import Value, archive, discarded
from storage.model import EventRecord
from storage.statuses import PENDING_STATUSES, EventStatus, outcome_of

COLUMNS = (
    "number",
    "outcome",
    "finished_at",
    "attempts",
    "inbound_event_id",
    "source_config_id",
    "source_type",
    "provider_event_id",
    "event_type",
    "received_at",
    "payload",
    "headers",
    "meta",
    "result",
    "duplicate_of",
    "error",
    "discarded_at",
    "archive",
    "archive_expired_at",
    "forgotten_at",
)
"""Of formats that have a place for each."""

NUMBERS = ("number", "attempts")
TIMES = ("finished_at", "received_at", "discarded_at", "archive_expired_at", "forgotten_at")
JSON_TEXTS = ("payload", "headers", "meta", "result")
"""The columns that are JSON in a text where there is a place for each; the others are text."""


class Key(NamedTuple):
    """What of a row is compared."""

    number: int
    source_id: str
    event_id: str
    outcome: str
    is_forgotten: bool


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


def cells(row: Value) -> list[Any]:
    """Return the COLUMNS of a row: None where it has none, and JSON as a text where something may be nested."""
    texts = {column: json_text(row[column]).decode() for column in JSON_TEXTS if row.get(column) is not None}
    return list(map((row | texts).get, COLUMNS))
