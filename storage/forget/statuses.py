"""What becomes of events that are forgotten while they are pending or dead: they are dead, and nobody's concern."""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from storage.forget.find import OfId
from storage.history import DISCARDED, FORGOTTEN, without_texts
from storage.model import StatusChange
from storage.read.dead import dead_events
from storage.read.snapshot import Snapshots
from storage.statuses import EventStatus


def ended(_: Snapshots, source_id: str, events: Sequence[OfId], now_ms: int, store_ms: int) -> StatusChange | None:
    """Return what makes the pending ones of these events of a source dead; None if there are none."""
    waiting = [each for each in events if each.is_pending]
    if not waiting:
        return None
    numbers, attempts = [each.number for each in waiting], [each.attempts for each in waiting]
    details = dict.fromkeys(numbers, orjson.dumps({"error": FORGOTTEN}))
    return StatusChange(source_id, EventStatus.DEAD, numbers, attempts, now_ms, store_ms, details=details)


def discarded(
    snapshots: Snapshots, source_id: str, events: Sequence[OfId], now_ms: int, store_ms: int
) -> StatusChange | None:
    """Return what discards the dead ones of these events of a source, after `ended`; None if there are none."""
    listed = [each.number for each in events if each.is_pending or each.is_listed]
    dead = dead_events(snapshots, listed)
    if not dead:
        return None
    numbers = [each.number for each in dead]
    nameless = [replace(each, error=FORGOTTEN, history=without_texts(each.history)) for each in dead]
    histories = {each.number: each.then(DISCARDED, now_ms) for each in nameless}
    attempts = [0] * len(numbers)
    return StatusChange(source_id, EventStatus.DISCARDED, numbers, attempts, now_ms, store_ms, histories=histories)
