"""The consumer of one source: in order, dedup first, at most one event of an id with its processor at a time.

An event's way: taken from the channel → its id is held (or it is parked as an in-flight duplicate) → skipped as a
duplicate if the id was processed (`handling.py`) → processor (`attempts.py`) → outcome on disk (`outcome_writer.py`).

Outcomes are not waited for, so one transaction can carry those of many calls; but while `events_max` events wait for
theirs or are parked, nothing is taken from the channel, and while many bytes of results wait, nothing that is parked
either. A source without a processor goes the same way with nothing in the middle: what becomes of its events is sure at
once, so their ids need not be held.
"""

from collections.abc import Callable, Sequence

import trio

from server.base.clock import Clock
from server.base.source import Source
from server.base.worker import Worker
from server.flow.attempts import Attempts, Stopped, Waits
from server.flow.committer import Committer
from server.flow.cutter import Cutter
from server.flow.handling import Handling
from server.flow.item import items_of
from server.flow.outcome_writer import OutcomeWriter
from server.flow.parked import ParkedEvent, ParkedEvents
from server.flow.processor import Processor
from server.flow.queue import SourceQueue
from server.flow.reasons import PendingReasons, Retried
from server.flow.seen_in_store import SeenInStore
from server.flow.source_state import SourceState
from server.flow.suspects import Suspects
from storage.dedup.index import DedupIndex
from storage.model import Span
from storage.read.reader import Reader

ARCHIVE_EVENTS_MAX = 2048
"""Events in a batch of a source without a processor: what dedup looks up in about a millisecond."""

WAITING_RESULT_BYTES_MAX = 16 * 2**20
"""Of results that wait for their commit; beyond it no processor is called. One batch may go over it."""

REQUEUED_EVENTS_MAX = 200_000
"""Numbers of requeued events that wait in memory for their batches, of one source: 8 MB."""

READ_BYTES_MAX = 4 * 2**20
"""Of bodies, in a batch of requeued events: what one delivery may have (limits.decoded_bytes_max), and one may go over
it."""


class Consumer:
    """Works off the events of one source. `run` is its task; everything else is called on the trio thread."""

    def __init__(
        self,
        state: SourceState,
        queue: SourceQueue,
        processor: Processor | None,
        source: Source,
        *,
        committer: Committer,
        index: DedupIndex,
        reader: Reader,
        reading: Worker,
        clock: Clock,
        suspects: Suspects,
        events_max: int,
        waits: Waits,
    ) -> None:
        """`waits`: what the consumer before it left."""
        self._state = state
        self._reader = reader
        self._reading = reading
        self._suspects = suspects
        self._events_max = events_max
        self._parked = ParkedEvents()
        self._seen = SeenInStore(reader, reading)
        self._outcomes = OutcomeWriter(
            state,
            self._parked,
            committer=committer,
            index=index,
            clock=clock,
            on_written=self.notify,
            on_outcome=suspects.clear,
            on_processed=self._seen.processed,
        )
        self._stop = trio.Event()
        self._attempts = (
            Attempts(
                state,
                source,
                processor,
                parked=self._parked,
                outcomes=self._outcomes,
                clock=clock,
                stop=self._stop,
                waits=waits,
            )
            if processor
            else None
        )
        self._handling = Handling(
            self._parked,
            self._attempts,
            outcomes=self._outcomes,
            seen=self._seen,
            suspects=suspects,
            index=index,
            reader=reader,
            reading=reading,
        )
        self._cutter = Cutter(queue)
        self._hand: tuple[int, int] | None = None
        self._resting = trio.CancelScope()

    def configure(self, source: Source) -> None:
        """Put other limits in force for the same processor."""
        if self._attempts is not None:
            self._attempts.source = source

    def stop(self) -> None:
        """Finish the call in hand and take nothing more; `run` returns then. What is left is pending, on disk."""
        self._stop.set()
        self.notify()

    def notify(self) -> None:
        """Let it look again for something to do; call when what it may be waiting for has changed."""
        self._resting.cancel()

    def requeued(self, numbers: Sequence[int]) -> None:
        """Take these dead events, which are pending again, as soon as there is time."""
        self._parked.add_together(numbers)
        self.notify()

    @property
    def room(self) -> int:
        """How many more requeued events may be given back."""
        return REQUEUED_EVENTS_MAX - self._parked.together

    @property
    def working(self) -> bool:
        """Events are in hand."""
        return self._hand is not None

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def flushed(self) -> None:
        """Return when every outcome is on disk."""
        await self._outcomes.flushed()

    def retry_now(self) -> Retried:
        """Let what waits after a failure be tried now."""
        found = Retried() if self._attempts is None else self._attempts.retry_now()
        self.notify()
        return found

    def reasons(self, now_ms: int) -> PendingReasons:
        """Return why events wait. `now_ms`: by the wall clock."""
        return PendingReasons() if self._attempts is None else self._attempts.reasons(now_ms)

    def waits(self) -> Waits:
        """Return what is left of the waits, for its successor with the same processor; call when it has stopped."""
        return Waits() if self._attempts is None else self._attempts.waits()

    def oldest(self) -> tuple[int, int] | None:
        """Return (number, received_at_ms) of the oldest event here without an outcome on disk."""
        found = (self._cutter.oldest(), self._hand, self._parked.oldest(), self._outcomes.oldest())
        return min((entry for entry in found if entry is not None), default=None)

    async def run(self) -> None:
        """Work until told to stop."""
        try:
            while not self._stop.is_set():
                if not await self._next():
                    await self._rest()
        except Stopped:
            pass
        finally:
            self._cutter.close()

    async def _next(self) -> bool:
        """Take in turn what is parked and due, a batch of requeued events, and one of what the channel holds; return
        False if there was nothing.

        In an outage that an event met alone, take one event at a time, and what is parked if there is no other: what
        has failed before says less about the world.
        """
        if self._attempts is not None:
            await self._attempts.wait_out()
        unparked = not self._parked.in_outage and await self._next_due()
        requeued = not self._blocked and await self._next_requeued()
        fresh = not self._blocked and await self._next_batch()
        return unparked or requeued or fresh or await self._next_due() or await self._next_aside()

    async def _next_due(self) -> bool:
        return await self._unpark_next(lambda: self._parked.next_due(trio.current_time()))

    async def _next_aside(self) -> bool:
        is_to_wait = self._attempts is not None and self._attempts.waits_for_another()
        return is_to_wait or await self._unpark_next(self._parked.next_aside)

    async def _unpark_next(self, next_parked: Callable[[], ParkedEvent | None]) -> bool:
        event = None if self._results_wait else next_parked()
        if event is not None:
            await self._unpark(event)
        return event is not None

    @property
    def _blocked(self) -> bool:
        """So many events are parked, or may be when they are on disk, that none is to be added; or none ever."""
        is_full = len(self._parked) + self._outcomes.waiting_events >= self._events_max + self._parked.spare
        return is_full or self._results_wait or self._stop.is_set()

    @property
    def _results_wait(self) -> bool:
        return self._outcomes.waiting_bytes >= WAITING_RESULT_BYTES_MAX

    async def _rest(self) -> None:
        """Return when there is something to do. From finding nothing up to here is no checkpoint: nothing is missed."""
        due = None if self._results_wait else self._parked.next_time()
        with trio.CancelScope(deadline=trio.current_time() + 3600 if due is None else due) as self._resting:
            if self._blocked:
                self._outcomes.flush()
                await trio.sleep_forever()
            await self._cutter.wait()

    async def _next_batch(self) -> bool:
        """Take what the channel holds, up to a batch, and work it off; return False if there was nothing."""
        parts, emptied = self._cutter.take(self._wanted)
        if not parts:
            return False
        self._hand = (parts[0].numbers[0], parts[0].received_at_ms)
        try:
            await self._handling.take(parts)
        finally:
            self._hand = None
            self._cutter.taken_off(emptied)
        await trio.lowlevel.checkpoint()
        return True

    async def _next_requeued(self) -> bool:
        """Work off a batch of requeued events; return False if there are none."""
        numbers = self._parked.next_together(self._wanted)
        if not numbers:
            self._seen.forget()
            return False
        self._hand = (numbers[0], 0)
        try:
            spans = await self._reading.run(self._read, numbers)
            self._parked.add_together(numbers[sum(len(span.numbers) for span in spans) :])
            await self._handling.take(spans)
        finally:
            self._hand = None
        return True

    @property
    def _wanted(self) -> int:
        """How many events the next batch may have."""
        if self._attempts is None:
            return ARCHIVE_EVENTS_MAX
        return 1 if self._parked.in_outage else self._attempts.source.processor_batch_events_max

    async def _unpark(self, event: ParkedEvent) -> None:
        """Work off an event that was parked, alone."""
        if not self._parked.hold(event):
            return
        self._hand = (event.number, event.received_at_ms)
        try:
            spans = await self._reading.run(self._read, [event.number])
            await self._handling.take_held(items_of(spans))
        finally:
            self._hand = None

    def _read(self, numbers: Sequence[int]) -> list[Span]:
        """Return the first of these events, as many as there may be bodies of in memory."""
        spans = self._reader.spans(numbers, bodies=self._attempts is not None, bytes_max=READ_BYTES_MAX)
        found = [number for span in spans for number in span.numbers]
        if not found or found != numbers[: len(found)]:
            raise AssertionError(f"of the events {numbers[0]} to {numbers[-1]}, one has an outcome already")
        return spans
