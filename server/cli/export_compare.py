"""An event of an export beside the same one in the store: what cannot change is the same in both.

An outcome may have come since, or another in its place if it was not the last; and what an event held may have left, by
retention, with a forget, or as it was discarded. A forget takes headers and address from all events of a delivery.
"""

import orjson

from server.base.json_text import json_text
from server.observe.exports import COLUMNS, Cells
from storage.statuses import EventStatus

LAST = {status.label for status in (EventStatus.PROCESSED, EventStatus.DUPLICATE, EventStatus.DROPPED)}
"""The outcomes that no other follows; nor does one follow a discard."""

OF_OUTCOME = ("outcome", "finished_at", "attempts", "result", "duplicate_of", "error", "discarded_at")
OF_ARCHIVE = ("archive", "archive_expired_at", "forgotten_at")


def differing(said: Cells, here: Cells) -> list[str]:
    """Return the columns in which what a file has of an event is wrong, by what the store has now."""
    if said == here:
        return []
    others = [column for column, one, other in zip(COLUMNS, said, here, strict=True) if one != other]
    return [column for column in others if not _may_differ(column, said, here)]


def _may_differ(column: str, said: Cells, here: Cells) -> bool:
    if column in OF_OUTCOME:
        is_last = said.outcome in LAST or said.discarded_at is not None
        return not is_last or _has_gone(column, here)
    if column in OF_ARCHIVE:
        return here.archive is not None and said.archive in (None, "expired")
    if column == "payload":
        return _is_bodiless(here) and not _is_bodiless(said)
    if column == "headers":
        return here.headers == "{}" and _has_no_sender(here)
    return column == "meta" and _has_no_sender(here) and _without_sender(said.meta) == here.meta


def _has_gone(column: str, here: Cells) -> bool:
    """Return whether this of an outcome has left the store, though the outcome is there."""
    if column == "result":
        return here.result is None and here.archive is not None
    if column == "duplicate_of":
        return here.duplicate_of is None  # the other event has left
    return column == "error" and here.archive == "forgotten"


def _is_bodiless(event: Cells) -> bool:
    return event.archive is not None or event.discarded_at is not None


def _has_no_sender(here: Cells) -> bool:
    """Return whether an event of the delivery was forgotten."""
    return bool(orjson.loads(here.meta)["remote_addr"] == "")


def _without_sender(meta: str) -> str:
    try:
        return json_text(orjson.loads(meta) | {"remote_addr": ""}).decode()
    except (ValueError, TypeError):
        return ""  # it is not an object
