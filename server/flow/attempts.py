"""Calling the processor, and what its failures mean.

- A failed batch of two or more: the source waits, then that batch goes on one event at a time, so that a poisonous
  event takes none of its neighbours with it; nothing is counted.
- An event that failed alone, or by its own entry: one attempt is counted, and it is parked for its own retries.
- An outage (`outages.py`): the source waits, and nothing is counted, since an outage must not kill events. Of a batch,
  those that met it by their entries go on alone, in turn with others. An event that met it alone is set aside, and
  another is tried, the first time at once: when that one succeeds, the world is there, so the failure before it was the
  event's own and is counted.
Any success resets the source's wait.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson
import trio

from server.base.clock import Clock
from server.base.source import Source
from server.flow.item import Item, digests_of_items, events_of
from server.flow.outcome_writer import OutcomeWriter
from server.flow.parked import ParkedEvent, ParkedEvents
from server.flow.processor import BatchFailed, Failed, Processor, Succeeded
from server.flow.reasons import PendingReasons, Retried
from server.flow.source_state import SourceState
from server.flow.suspects import DEATHS_MAX, PROCESS_ENDED
from storage.in_hand.records import Suspect

WAIT_SECONDS = (1, 5, 25, 125, 300)
"""Between attempts; the last one repeats. Twelve attempts thus span about 40 minutes."""

JITTER = 0.2
"""Up to this share is added to a wait, so that what failed together does not come back together."""


class Stopped(Exception):
    """The consumer was told to stop while it waited."""


@dataclass(frozen=True, slots=True)
class Waits:
    """What is left of the waits of a source whose consumer has stopped, in seconds."""

    failures: int = 0
    """In a row, of the source."""
    seconds: float = 0
    """In which no call is made."""
    failed_since: float = 0
    """When the first of these failures was, by the loop's clock."""
    failure: str = ""
    """The error of the last one."""
    is_outage: bool = False
    """Whether that was an outage."""
    retries: Mapping[int, float] = field(default_factory=dict)
    """By the event's number."""


class Attempts:
    """The processor of one source at work. `source` is the configuration in force."""

    def __init__(
        self,
        state: SourceState,
        source: Source,
        processor: Processor,
        *,
        parked: ParkedEvents,
        outcomes: OutcomeWriter,
        clock: Clock,
        stop: trio.Event,
        waits: Waits,
    ) -> None:
        self.source = source
        self._state = state
        self._processor = processor
        self._parked = parked
        self._outcomes = outcomes
        self._clock = clock
        self._stop = stop
        self._failures = waits.failures
        now = trio.current_time()
        parked.due = {number: now + seconds for number, seconds in waits.retries.items()}
        self._not_before = now + waits.seconds
        """No call is made before this time."""
        self._outage_error = ""
        """Of the event that was set aside last."""
        self._failed_since, self._failure, self._is_outage = waits.failed_since, waits.failure, waits.is_outage
        """Since when the source has waits, after which failure, and whether that was an outage."""
        self._waiting = trio.CancelScope()
        self._is_first_aside = False
        """Nothing was waited for since an event was set aside: another one says whether the world is away."""

    async def process(self, items: Sequence[Item]) -> None:
        """Bring each of these events, whose ids are held, to an outcome, or park it. Raises `Stopped`; those without an
        outcome stay pending then."""
        while items and (tried := await self._try(items)):
            items = items[tried:]
        if items:
            self._delay(self._state.last_error or "")
            for item in items:
                await self._try([item])

    def waits(self) -> Waits:
        """Return what is left of the waits."""
        now = trio.current_time()
        return Waits(
            self._failures,
            max(0, self._not_before - now),
            self._failed_since,
            self._failure,
            self._is_outage,
            self._parked.waits(now),
        )

    def retry_now(self) -> Retried:
        """End all waits: the source's, and those of single events."""
        now = trio.current_time()
        waited = self._not_before > now
        self._not_before = now
        self._is_first_aside = False
        self._waiting.cancel()
        return Retried(self._parked.retry_now(), waited)

    def reasons(self, now_ms: int) -> PendingReasons:
        """Return why events wait. `now_ms`: by the wall clock."""
        now = trio.current_time()
        seconds = self._not_before - now
        retries = {number: now_ms + int(wait * 1000) for number, wait in self._parked.waits(now).items()}
        return PendingReasons(
            resumes_at_ms=now_ms + int(seconds * 1000) if seconds > 0 else None,
            is_outage=self._is_outage if seconds > 0 else self._parked.in_outage,
            error=(self._failure if seconds > 0 else self._outage_error) or None,
            retries_at_ms=retries,
            aside=self._parked.aside_numbers(),
        )

    def waits_for_another(self) -> bool:
        """Return whether an event was set aside without a wait; begin that wait. Call when there is no other event."""
        is_first = self._is_first_aside
        if is_first:
            self._delay(self._outage_error, outage=True)
        return is_first

    async def wait_out(self) -> None:
        """Return when a call may be made again after a failure that was not one event's own. Raises `Stopped`."""
        if trio.current_time() < self._not_before:
            with trio.CancelScope(deadline=self._not_before) as self._waiting:
                await self._stop.wait()
                raise Stopped

    async def _try(self, items: Sequence[Item]) -> int:
        """Settle what the processor says about the first of these; return of how many that was, 0 if a batch failed."""
        try:
            entries = await self._call(items)
        except BatchFailed as failure:
            if len(items) > 1:
                return 0
            entries = [Failed(failure.error, outage=failure.outage)]
        tried = len(entries)
        away = self._settle(items[:tried], entries)
        if tried > 1:
            self._go_on_alone([item for item, _ in away])
        else:
            for item, error in away:
                self._set_aside(item, error)
        return tried

    async def give_turn(self, suspect: Item) -> bool:
        """Call the processor once with a suspect, whose id is held; return whether its source's next may have its turn.

        Raises `Stopped`.
        """
        late = False
        try:
            entries = await self._call([suspect])
        except BatchFailed as failure:
            entries, late = [Failed(failure.error, outage=failure.outage)], failure.late
        away = self._settle([suspect], entries)
        for _, error in away:
            self._delay(error, outage=True)
        return not (away or late)

    def count_death(self, item: Item, suspect: Suspect) -> None:
        """Count an attempt for a suspect that was in hand again when a process died."""
        self._state.processor_failed([PROCESS_ENDED], self._clock.now_ms())
        self._failed(item.to_be_parked(), PROCESS_ENDED, last=suspect.deaths > DEATHS_MAX)

    async def _call(self, items: Sequence[Item]) -> list[Succeeded | Failed]:
        await self.wait_out()
        if not self._processor.ready:
            await self._unless_stopped(self._processor.until_ready)
        if self._stop.is_set():
            raise Stopped
        events = await events_of(items)
        numbers = [item.number for item in items[: len(events)]]
        started = trio.current_time()
        try:
            entries = await self._processor(
                events, numbers, self.source.processor_timeout_seconds, self.source.processor_outages
            )
        except BatchFailed as failure:
            self._state.processor_failed([failure.error], self._clock.now_ms(), outage=failure.outage)
            raise
        finally:
            self._state.processor_seconds.observe(trio.current_time() - started)
        for entry in entries:
            if isinstance(entry, Failed):
                self._state.processor_failed([entry.error], self._clock.now_ms(), outage=entry.outage)
        return entries

    def _delay(self, error: str, *, outage: bool = False) -> None:
        """Make no call for a while, after a failure that is not one event's own."""
        now = trio.current_time()
        self._not_before = now + wait_seconds(self._failures)
        self._failed_since = self._failed_since if self._failures else now
        self._failures += 1
        self._failure, self._is_outage = error, outage
        self._is_first_aside = False

    async def _unless_stopped(self, wait: Callable[[], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_stopped, nursery.cancel_scope)
            await wait()
            nursery.cancel_scope.cancel()

    async def _cancel_when_stopped(self, scope: trio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    def _settle(self, items: Sequence[Item], entries: Sequence[Succeeded | Failed]) -> list[tuple[Item, str]]:
        """Bring these events to what their entries say; return those that met an outage, with the error."""
        done: list[Item] = []
        away: list[tuple[Item, str]] = []
        details = {}
        for item, entry in zip(items, entries, strict=True):
            if isinstance(entry, Failed):
                if entry.outage:
                    away.append((item, entry.error))
                else:
                    self._failed(item.to_be_parked(), entry.error)
                continue
            done.append(item)
            if entry.result is not None:
                details[item.number] = b'{"result":%b}' % entry.result
                if not entry.kept:
                    self._state.result_not_kept(entry.result)
        if done:
            self._succeeded()
            self._outcomes.processed(
                [item.number for item in done],
                digests_of_items(done),
                [item.attempts for item in done],
                done[0].received_at_ms,
                details,
            )
        return away

    def _succeeded(self) -> None:
        """Reset the wait. The world is there, so the event that was set aside last met no outage: it failed."""
        if self._failures:
            self._state.recovered(self._failures, trio.current_time() - self._failed_since)
        self._failures = 0
        self._is_first_aside = False
        event = self._parked.outage_over()
        if event is not None:
            self._failed(event, self._outage_error)

    def _go_on_alone(self, away: Sequence[Item]) -> None:
        """Let these events of a batch wait for the world, and then go in turn with others: one that succeeds between
        two of them tells an outage from what only they meet."""
        if away:
            self._delay(self._state.last_error or "", outage=True)
        for item in away:
            self._parked.make_ready(item.to_be_parked())

    def _set_aside(self, item: Item, error: str) -> None:
        """Set the event aside; wait, unless it is the first: each event that nobody takes would cost its source a wait
        for every attempt."""
        if self._parked.in_outage:
            self._delay(error, outage=True)
        else:
            self._is_first_aside = True
        self._parked.set_aside(item.to_be_parked())
        self._outage_error = error

    def _failed(self, event: ParkedEvent, error: str, *, last: bool = False) -> None:
        attempts, detail = event.attempts + 1, orjson.dumps({"error": error})
        if last or attempts >= self.source.processor_attempts_max:
            self._state.event_died(error)
            self._outcomes.dead(event, attempts, detail)
        else:
            self._outcomes.attempted(replace(event, attempts=attempts), wait_seconds(event.attempts), detail)


def wait_seconds(failures: int) -> float:
    """Return the wait after one more failure than `failures`, with jitter."""
    return WAIT_SECONDS[min(failures, len(WAIT_SECONDS) - 1)] * (1 + JITTER * random.random())  # noqa: S311  # no secret
