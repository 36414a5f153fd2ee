"""What the store holds, and how fast it grows: what a forecast is made of. Everything here was measured."""

from storage.frozen import frozen
from storage.read.snapshot import Snapshot, Snapshots

DAY_MS = 86_400_000
"""Over the last day, so that the hours of a day do not matter; over what there is if that is less."""

MEASURED_MS_MIN = 600_000
"""What came in less time says nothing of a day."""


@frozen
class Usage:
    """What is in the store, and what came lately."""

    archive_bytes: int
    """Of the pages of bodies and results, which leave first."""
    receipt_bytes: int
    """Of the pages of all else."""
    archived: int
    """Events whose bodies are there."""
    events: int
    came: int
    """Events that came in `measured_ms`."""
    measured_ms: int
    """By the wall clock, up to now; 0: too short a time to say anything."""


EMPTY = Usage(archive_bytes=0, receipt_bytes=0, archived=0, events=0, came=0, measured_ms=0)


def usage(snapshots: Snapshots, now_ms: int) -> Usage:
    """Return it as of now, by the wall clock. Reads some forty heads."""
    with snapshots.take() as snapshot:
        totals = snapshot.totals().values()
        received = sum(each.received for each in totals)
        came, measured_ms = _lately(snapshot, now_ms)
        return Usage(
            archive_bytes=snapshot.bytes_of("bodies", "results"),
            receipt_bytes=snapshot.bytes_of("meta", "facts", "ids", "statuses", "body_digests", "index"),
            archived=received - sum(each.expired for each in totals),
            events=received - sum(each.receipts_left for each in totals),
            came=came,
            measured_ms=measured_ms if measured_ms >= MEASURED_MS_MIN else 0,
        )


def _lately(snapshot: Snapshot, now_ms: int) -> tuple[int, int]:
    """Return how many events came in how many milliseconds, at most the last day."""
    end = snapshot.end
    start = _first_since(snapshot, now_ms - DAY_MS, end)
    head = next(snapshot.heads(start, end), None)
    if head is not None and snapshot.head_of(head.first - 1) is None:  # nothing of what came before is known
        return end - head.first, max(0, now_ms - head.received_at_ms)
    return end - start, DAY_MS if end > 1 else 0


def _first_since(snapshot: Snapshot, at_ms: int, end: int) -> int:
    """Return the number of the first event that was received then or later: the end of the store if there is none."""
    start, stop = 1, end
    while start < stop:
        middle = (start + stop) // 2
        head = next(snapshot.heads(middle, stop), None)
        if head is not None and head.received_at_ms < at_ms:
            start = head.end
        else:
            stop = middle if head is None else min(middle, head.first)
    return start
