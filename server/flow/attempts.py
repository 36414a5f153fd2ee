"""Calling the processor, and what its failures mean.

- A failed batch of two or more: the source waits, then that batch goes on one event at a time, so that a poisonous
  event takes none of its neighbours with it; nothing is counted.
- An event that failed alone, or by its own entry: one attempt is counted, and it is parked for its own retries.
- An outage (`outages.py`): the source waits and tries the same again; nothing is counted, since an outage must not kill
  events.
Any success resets the source's wait.
"""

import random
from collections.abc import Awaitable, Callable, Sequence

import orjson
import trio

from server.base.clock import Clock
from server.base.source import Source
from server.flow.item import Item, events_of
from server.flow.outcome_writer import OutcomeWriter
from server.flow.parked import ParkedEvent
from server.flow.processor import BatchFailed, Failed, Processor, Succeeded
from server.flow.source_state import SourceState

WAIT_SECONDS = (1, 5, 25, 125, 300)
"""Between attempts; the last one repeats. Twelve attempts thus span about 40 minutes."""

JITTER = 0.2
"""Up to this share is added to a wait, so that what failed together does not come back together."""


class Stopped(Exception):
    """The consumer was told to stop while it waited."""


class Attempts:
    """The processor of one source at work. `source` is the configuration in force."""

    def __init__(
        self,
        state: SourceState,
        source: Source,
        processor: Processor,
        *,
        outcomes: OutcomeWriter,
        clock: Clock,
        stop: trio.Event,
    ) -> None:
        self.source = source
        self._state = state
        self._processor = processor
        self._outcomes = outcomes
        self._clock = clock
        self._stop = stop
        self._failures = 0

    async def process(self, items: Sequence[Item]) -> None:
        """Bring each of these events, whose ids are held, to an outcome, or park it for a retry.

        Raises `Stopped`; events without an outcome stay pending then.
        """
        try:
            entries = await self._call(items)
        except BatchFailed as failure:
            if len(items) == 1 and not failure.outage:
                self._settle(items, [Failed(failure.error)])
            else:
                await self._one_by_one(items)
        else:
            self._settle(items, entries)

    async def _one_by_one(self, items: Sequence[Item]) -> None:
        await self._wait_out()
        for item in items:
            self._settle([item], [await self._alone(item)])

    async def _alone(self, item: Item) -> Succeeded | Failed:
        while True:
            try:
                return (await self._call([item]))[0]
            except BatchFailed as failure:
                if not failure.outage:
                    return Failed(failure.error)
                await self._wait_out()

    async def _call(self, items: Sequence[Item]) -> list[Succeeded | Failed]:
        if not self._processor.ready:
            await self._unless_stopped(self._processor.until_ready)
        if self._stop.is_set():
            raise Stopped
        started = trio.current_time()
        try:
            entries = await self._processor(
                events_of(items), self.source.processor_timeout_seconds, self.source.processor_outages
            )
        except BatchFailed as failure:
            self._state.processor_failed([failure.error], self._clock.now_ms(), outage=failure.outage)
            raise
        finally:
            self._state.processor_seconds.observe(trio.current_time() - started)
        failed = [entry.error for entry in entries if isinstance(entry, Failed)]
        self._state.processor_failed(failed, self._clock.now_ms())
        return entries

    async def _wait_out(self) -> None:
        """Wait after a failure that is not one event's own."""
        seconds = wait_seconds(self._failures)
        self._failures += 1
        with trio.move_on_after(seconds):
            await self._stop.wait()
            raise Stopped

    async def _unless_stopped(self, wait: Callable[[], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_stopped, nursery.cancel_scope)
            await wait()
            nursery.cancel_scope.cancel()

    async def _cancel_when_stopped(self, scope: trio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    def _settle(self, items: Sequence[Item], entries: Sequence[Succeeded | Failed]) -> None:
        done = []
        details = {}
        for item, entry in zip(items, entries, strict=True):
            if isinstance(entry, Failed):
                self._failed(item, entry.error)
                continue
            done.append(item)
            if entry.result is not None:
                details[item.number] = b'{"result":%b}' % entry.result
                if not entry.kept:
                    self._state.result_not_kept(entry.result)
        if done:
            self._failures = 0
            self._outcomes.processed(
                [item.number for item in done],
                [item.digest for item in done],
                [item.attempts for item in done],
                done[0].received_at_ms,
                details,
            )

    def _failed(self, item: Item, error: str) -> None:
        attempts = item.attempts + 1
        if attempts >= self.source.processor_attempts_max:
            self._state.event_died(error)
            detail = orjson.dumps({"error": error})
            self._outcomes.dead(item.number, item.digest, attempts, item.received_at_ms, detail)
        else:
            event = ParkedEvent(item.number, item.digest, item.received_at_ms, attempts, True, item.store_ms)
            self._outcomes.attempted(event, wait_seconds(item.attempts))


def wait_seconds(failures: int) -> float:
    """Return the wait after one more failure than `failures`, with jitter."""
    return WAIT_SECONDS[min(failures, len(WAIT_SECONDS) - 1)] * (1 + JITTER * random.random())  # noqa: S311  # no secret
