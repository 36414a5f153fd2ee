"""What is known of one source while the server runs: its limits, its counts, and how far its events have come.

All of it is changed on the trio thread only, by synchronous code; nothing here waits or reads a clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from server.base.histogram import SECONDS, Histogram
from server.base.log import Throttled, get
from server.base.source import Source
from server.intake.rate_limit import Gcra
from storage.deliveries import NumberedDeliveries
from storage.frozen import frozen
from storage.history import FORGOTTEN
from storage.statuses import Totals


@frozen
class Committed:
    """What is on disk: its first `admitted` events go on at once; up to `pending` they are deferred."""

    numbered: NumberedDeliveries
    admitted: int
    pending: int
    digests: bytes
    store_ms: int
    """When it was received, by the store's time, to the minute."""
    body_digests: bytes = b""
    """16 bytes an event; b"" if they are not known by their bodies."""

    @property
    def end(self) -> int:
        """The number after its last pending event."""
        return self.numbered.first + self.pending


class QueueProtocol(Protocol):
    """What a source's state needs of its queue."""

    behind: bool
    """Something of the source waits on disk only."""
    cursor: int
    """All before this number was fed; of meaning while it is behind."""

    def offer(self, run: Sequence[Committed]) -> None: ...

    def oldest(self) -> tuple[int, int] | None: ...


class ConsumerProtocol(Protocol):
    """What a source's state needs of its consumer."""

    @property
    def stopping(self) -> bool: ...

    @property
    def room(self) -> int: ...

    def oldest(self) -> tuple[int, int] | None: ...

    def requeued(self, numbers: Sequence[int]) -> None: ...


@dataclass(slots=True)
class SinceStart:
    """Counts that start at 0 with the process."""

    rejected: int = 0
    over_limit: int = 0
    processor_failures: int = 0
    retried_requests: int = 0
    """Of SDKs, which say so."""


class SourceState:
    """One source, configured now or only known from the store (then `source` is None)."""

    def __init__(self, source_id: str, totals: Totals) -> None:
        self.id = source_id
        self.source: Source | None = None
        self.totals = totals
        """As committed."""
        self.counts = SinceStart()
        self.processor_seconds = Histogram(SECONDS)
        self.last_error: str | None = None
        """Of the processor, since the start."""
        self.last_error_at_ms: int | None = None
        self._log = get("tidegate.processor")
        self._failures = Throttled("tidegate.processor", "processor failed")
        self._deaths = Throttled("tidegate.processor", "event died")
        self._results = Throttled("tidegate.processor", "result not kept")
        self._overs = Throttled("tidegate.limit", "over the rate limit")
        self._overs_said = 0
        self.limiter = Gcra(0, 0)
        self.unreleased = totals.deferred_now
        """Deferred events on disk that still wait for a token."""
        self._paid = 0
        """The first so many of them have had theirs before the log was read anew."""
        self.returning = 0
        """Requeues on their way to the disk."""
        self.requeues_begun = 0
        """Commands that give back dead events, and have not ended."""
        self.queue: QueueProtocol | None = None
        self.consumer: ConsumerProtocol | None = None
        self._appending = 0
        self._appending_deferred = 0

    def processor_failed(self, errors: Sequence[str], now_ms: int, *, outage: bool = False) -> None:
        """Count a call that failed, or entries of one. The log says the kind of error: its words may hold a payload."""
        for error in errors:
            self.counts.processor_failures += 1
            self.last_error, self.last_error_at_ms = error, now_ms
            self._failures.warn(self.id, source=self.id, kind=kind_of(error), outage=outage)

    def forget_error(self) -> None:
        """Say no more what the last error was: it may be of an event that is forgotten."""
        if self.last_error is not None:
            self.last_error = FORGOTTEN

    def event_died(self, error: str) -> None:
        """Say that an event has failed too often, as `processor_failed` does."""
        self._deaths.warn(self.id, source=self.id, kind=kind_of(error))

    def recovered(self, failures: int, seconds: float) -> None:
        """Say that a call has succeeded again, after waits of the source."""
        self._log.info("processor recovered", source=self.id, failures=failures, seconds=round(seconds, 1))

    def result_not_kept(self, instead: bytes) -> None:
        """Say that a result could not be kept, and what is in its place, which has nothing of a payload."""
        self._results.warn(self.id, source=self.id, instead=instead.decode())

    def went_over(self, events: int) -> None:
        """Count events that are on disk and were over the rate limit. The log says how many since its last line."""
        self.counts.over_limit += events
        mode = self.source.over_limit if self.source is not None else None
        count = self.counts.over_limit - self._overs_said
        if self._overs.warn(self.id, source=self.id, mode=mode, count=count):
            self._overs_said = self.counts.over_limit

    def configure(self, source: Source | None) -> None:
        """Put another configuration in force; None if it was removed. What is deferred stays so."""
        self.source = source
        if source is not None:
            self.limiter.reconfigure(source.rate_limit_events_per_second, source.rate_limit_burst_events)

    @property
    def pending(self) -> int:
        """Events without an outcome, those being written included."""
        return self.totals.pending + self._appending

    @property
    def deferring(self) -> bool:
        """Deferred events wait, and what comes now has to wait behind them."""
        return self.unreleased > 0 or self._appending_deferred > 0

    def release(self, count: int, now_ns: int) -> int:
        """Return how many of `count` deferred events may go on now, and count them as released."""
        source = self.source
        free = source is None or source.over_limit == "observe" or not source.rate_limit_events_per_second
        paid = min(count, self._paid)
        released = count if free else paid + self.limiter.admit(count - paid, now_ns)
        self._paid -= paid
        self.unreleased -= released
        return released

    def release_paid(self) -> None:
        """Count a deferred event as released whose token was spent before the process started."""
        self.unreleased -= 1

    def forget_releases(self) -> None:
        """Defer again what was released and not finished, which needs no second token; call when every outcome is on
        disk and the log will be read anew from the oldest pending."""
        self._paid += self.totals.deferred_now - self.unreleased
        self.unreleased = self.totals.deferred_now

    @property
    def paused(self) -> bool:
        """It is configured so that its events wait."""
        return self.source is not None and self.source.paused

    def appending(self, pending: int, deferred: int) -> None:
        """Count the pending events of a delivery, deferred ones among them, that is on its way to the disk."""
        self._appending += pending
        self._appending_deferred += deferred

    def not_appended(self, pending: int, deferred: int) -> None:
        """Undo `appending`; call when the delivery was refused. Its tokens stay spent."""
        self._appending -= pending
        self._appending_deferred -= deferred

    def appended(self, run: Sequence[Committed]) -> None:
        """Put what is pending of these deliveries into the queue; call when they are in the store and in `totals`.

        What is replayed takes turns with it, as what is requeued does; while the source is behind, it comes from disk.
        """
        for committed in run:
            deferred = committed.pending - committed.admitted
            self._appending -= committed.pending
            self._appending_deferred -= deferred
            self.unreleased += deferred
        if self.queue is None:
            return
        for is_replay, those in groupby(run, key=lambda committed: bool(committed.numbered.deliveries.replay_of)):
            if is_replay and self.consumer is not None and not self.queue.behind:
                for committed in those:
                    self.consumer.requeued(range(committed.numbered.first, committed.end))
            else:
                self.queue.offer(list(those))

    def oldest_bound(self) -> int | None:
        """Return a number before which no event is pending; None if that is not known.

        A consumer that stops has let go of events without an outcome, so what it still holds says nothing.
        """
        if self.queue is None or self.consumer is None or self.consumer.stopping:
            return None
        oldest = self.oldest_pending()
        return None if oldest is None else oldest[0]

    def oldest_pending(self) -> tuple[int, int] | None:
        """Return (number, received_at_ms) of the oldest pending event; None if nothing is pending.

        If it waits on disk unread, the number is a lower bound and the time 0.
        """
        parts = (self.queue, self.consumer)
        return min((found for part in parts if part is not None and (found := part.oldest()) is not None), default=None)


def kind_of(error: str) -> str:
    """Return the kind of an error, without its words, which may hold a payload."""
    return error.partition(":")[0]
