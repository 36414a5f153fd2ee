"""How long things stay, and which events hold what they have. Times are the store's, in ms."""

from typing import Any

import numpy
from numpy.typing import NDArray

from storage.codec.status_rows import Rows, is_pending
from storage.frozen import frozen
from storage.statuses import EventStatus

Mask = NDArray[numpy.bool_]

ON_ITS_WAY_MS = 3600 * 1000
"""What was received this long ago, by a time that is kept to the minute, is in the store, unless commits fail: then
whoever plans is told since when. What stays so much longer costs little."""


@frozen
class Retention:
    """How long things stay after their outcome; 0: for ever."""

    archive_ms: int = 0
    """Bodies and results."""
    archive_bytes_max: int = 0
    """Of compressed bodies: over it the oldest leave before their time; 0: no bound."""
    receipt_ms: int = 0
    """Ids, statuses, facts and the errors of dead events; never before the body."""
    dead_ms: int = 0
    """Dead events, whole."""
    window_ms: int = 0
    """The dedup window: ids stay that long in any case, and until no pending event of their source can need them."""

    def holds(self, rows: Rows, now_ms: int) -> Mask:
        """Return which events keep everything that they have: the pending ones, and the dead ones within their time."""
        dead = rows["status"] == EventStatus.DEAD
        mask: Mask = is_pending(rows["status"]) | (dead & ~outlived(rows["store_ms"], self.dead_ms, now_ms))
        return mask

    def young_bodies(self, rows: Rows, now_ms: int) -> Mask:
        """Return which events' bodies have not outlived `archive_ms`; of a pending one since its receipt. A discarded
        one keeps none."""
        mask: Mask = ~outlived(rows["store_ms"], self.archive_ms, now_ms) & (rows["status"] != EventStatus.DISCARDED)
        return mask

    def young_receipts(self, rows: Rows, now_ms: int) -> Mask:
        """Return the same of receipts, which also outlive the window, and what may be on its way then."""
        least_ms = max(self.receipt_ms, self.window_ms + ON_ITS_WAY_MS) if self.receipt_ms else 0
        return ~outlived(rows["store_ms"], least_ms, now_ms)

    def needed(self, rows: Rows, waits_since_ms: int) -> Mask:
        """Return which ids an event of their source may need that was received at this time or later."""
        processed = rows["status"] == EventStatus.PROCESSED
        mask: Mask = processed & (rows["store_ms"] + numpy.uint64(self.window_ms) > numpy.uint64(waits_since_ms))
        return mask


def outlived(store_ms: NDArray[Any], stay_ms: int, now_ms: int) -> Mask:
    """Return for each of these times whether that much has passed since; never if `stay_ms` is 0."""
    if not stay_ms or now_ms < stay_ms:
        return numpy.zeros(len(store_ms), numpy.bool_)
    mask: Mask = store_ms <= numpy.uint64(now_ms - stay_ms)
    return mask
