"""From a verdict to an outcome on disk, and what waits for that: ids, in-flight duplicates, retries, the dedup index.

Guarantees: what an event holds is let go only when its outcome is on disk; only then is it known to the index; an
in-flight duplicate gets its own outcome, or its turn, only then; an event that failed is tried again only when its
attempt is on disk.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from server.base.clock import Clock
from server.flow.committer import Committer
from server.flow.digests import Digests
from server.flow.parked import ParkedEvent, ParkedEvents
from server.flow.source_state import SourceState
from storage.dedup.index import DedupIndex
from storage.model import StatusChange
from storage.statuses import OUTCOMES, EventStatus

FLUSH_BYTES = 2**20
"""Of results that wait: a transaction of so many gains nothing from more, and would need memory for all of them."""

EVER = sys.maxsize
"""Until when an event is received that waits for the one of its id that is processed: it is its duplicate anyway."""

NO_ORIGINAL = (0, -1)
"""Of a digest whose event was not processed: nothing is received until then."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An event whose id or body was processed before, as the event `original`."""

    number: int
    digests: tuple[bytes, ...]
    attempts: int
    original: int
    known_by: bytes
    """That of the digests by which the original is known."""
    store_ms: int
    """When it was received."""


class OutcomeWriter:
    """Writes the outcomes of one source.

    `on_written` is called whenever some have reached the disk; `on_outcome` with the numbers of events that have one;
    `on_processed` with digests and numbers before it is written that these events are processed.
    """

    def __init__(
        self,
        state: SourceState,
        parked: ParkedEvents,
        *,
        committer: Committer,
        index: DedupIndex,
        clock: Clock,
        on_written: Callable[[], None],
        on_outcome: Callable[[Sequence[int]], None],
        on_processed: Callable[[Sequence[bytes], Sequence[int]], None],
    ) -> None:
        self._state = state
        self._parked = parked
        self._committer = committer
        self._index = index
        self._clock = clock
        self._on_written = on_written
        self._on_outcome = on_outcome
        self._on_processed = on_processed
        self._waiting: dict[int, tuple[int, int]] = {}
        self.waiting_events = 0
        """Outcomes that are not on disk yet."""
        self.waiting_bytes = 0
        """Their results and errors."""

    def oldest(self) -> tuple[int, int] | None:
        """Return (number, received_at_ms) of the oldest event whose outcome is on its way."""
        return min(self._waiting.values(), default=None)

    def flush(self) -> None:
        """Write these outcomes now; call when somebody waits for them."""
        self._committer.flush()

    async def flushed(self) -> None:
        """Return when every outcome is on disk, or when nothing will be written any more."""
        while self._waiting and not self._committer.lost:
            self.flush()
            await self._committer.group_ended()

    def processed(
        self,
        numbers: Sequence[int],
        digests: Digests,
        attempts: Sequence[int],
        received_at_ms: int,
        details: Mapping[int, bytes],
        *,
        held: bool = True,
    ) -> None:
        """Write that these events are processed. `numbers` ascend.

        If their ids are not held, nothing but a restart keeps the outcomes from the disk, and what is found a
        duplicate of them is written after them: the index may know them at once.
        """
        change = self._change(EventStatus.PROCESSED, numbers, attempts, details=details)
        known, originals = digests.all, digests.for_all(numbers)
        self._on_processed(known, originals)
        if not held:
            self._index.add(known, originals, change.store_ms)

        def on_disk() -> None:
            self._index.add(known, originals, change.store_ms)
            pairs = zip(known, originals, strict=True) if self._parked else ()
            self._release(known, {digest: (number, EVER) for digest, number in pairs})

        self._hand_over(change, received_at_ms, on_disk if held else _nothing)

    def dead(self, event: ParkedEvent, attempts: int, detail: bytes) -> None:
        """Write that the event, which holds its digests, is dead: it has failed too often."""
        change = self._change(EventStatus.DEAD, [event.number], [attempts], details={event.number: detail})
        self._hand_over(change, event.received_at_ms, lambda: self._release(event.digests, {}))

    def duplicates(self, found: Sequence[Duplicate], received_at_ms: int, *, held: bool) -> None:
        """Write that these events are duplicates. Their numbers ascend."""
        digests = [digest for each in found for digest in each.digests]
        originals = {each.known_by: (each.original, each.store_ms) for each in found}
        release = (lambda: self._release(digests, originals)) if held else _nothing
        self._hand_over(self._duplicates(found), received_at_ms, release)

    def attempted(self, event: ParkedEvent, seconds: float, detail: bytes) -> None:
        """Write that the event, which holds its digests, failed alone; it is to be tried again after `seconds`."""
        due = trio.current_time() + seconds

        def on_disk() -> None:
            self._parked.retry_at(due, event)

        change = self._change(EventStatus.PENDING, [event.number], [event.attempts], details={event.number: detail})
        self._hand_over(change, event.received_at_ms, on_disk)

    def _release(self, digests: Sequence[bytes], originals: Mapping[bytes, tuple[int, int]]) -> None:
        """Let go of the digests; what waited for one is a duplicate of its original if it was received until the time
        given with that, else next in line. What waited for a body's holds its id until then."""
        for digest, waited in self._parked.release(digests):
            original, until_ms = originals.get(digest, NO_ORIGINAL)
            same = [event for event in waited if event.store_ms <= until_ms]
            later = [event for event in waited if event.store_ms > until_ms]
            if same:
                found = [
                    Duplicate(event.number, event.digests, event.attempts, original, digest, event.store_ms)
                    for event in same
                ]
                ids = [event.digest for event in same if event.digest != digest]
                self._hand_over(self._duplicates(found), same[0].received_at_ms, partial(self._release, ids, {}))
            if later:
                self._parked.promote(digest, later)

    def _duplicates(self, found: Sequence[Duplicate]) -> StatusChange:
        ordered = sorted(found, key=lambda each: each.number)
        numbers = [each.number for each in ordered]
        originals = [each.original for each in ordered]
        return self._change(EventStatus.DUPLICATE, numbers, [each.attempts for each in ordered], originals)

    def _change(
        self,
        status: EventStatus,
        numbers: Sequence[int],
        attempts: Sequence[int],
        originals: Sequence[int] = (),
        details: Mapping[int, bytes] | None = None,
    ) -> StatusChange:
        at_ms, store_ms = self._clock.now_ms(), self._committer.store_clock.now_ms()
        return StatusChange(self._state.id, status, numbers, attempts, at_ms, store_ms, originals, details or {})

    def _hand_over(self, change: StatusChange, received_at_ms: int, then: Callable[[], None]) -> None:
        count = len(change.numbers)
        size = sum(map(len, change.details.values()))
        key = id(change)
        self._waiting[key] = (change.numbers[0], received_at_ms)
        self.waiting_events += count
        self.waiting_bytes += size

        def on_disk() -> None:
            del self._waiting[key]
            self.waiting_events -= count
            self.waiting_bytes -= size
            if change.status in OUTCOMES:
                self._on_outcome(change.numbers)
            then()
            self._on_written()

        self._committer.change_status(self._state, change, on_disk)
        if self.waiting_bytes >= FLUSH_BYTES:
            self._committer.flush()


def _nothing() -> None:
    pass
