"""One source at work: builds its queue and consumer, and builds them anew when its processor changes or it returns.

When a consumer is told to stop: the call in hand finishes and counts; the channel is emptied; its outcomes reach the
disk; only then are a new queue and consumer made, which read the log from the oldest pending event. So no event is with
two consumers.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from server.base.byte_budget import ByteBudget
from server.base.clock import Clock
from server.base.source import Source
from server.base.wakeup import Wakeup
from server.base.worker import Worker
from server.flow.attempts import Waits
from server.flow.committer import Committer
from server.flow.consumer import Consumer
from server.flow.processor import Processor
from server.flow.queue import SourceQueue
from server.flow.reasons import PendingReasons, Retried
from server.flow.source_state import SourceState
from server.flow.suspect_consumer import SuspectConsumer
from server.flow.suspects import Suspects
from storage.dedup.index import DedupIndex
from storage.read.reader import Reader

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Shared:
    """What all sources share."""

    committer: Committer
    index: DedupIndex
    index_ready: trio.Event
    indexing: Worker
    reader: Reader
    reading: Worker
    budget: ByteBudget
    clock: Clock
    suspects: Suspects
    events_max: int


class Runner:
    """Keeps one source at work while it is configured. `run` is its task."""

    def __init__(self, state: SourceState, shared: Shared) -> None:
        self.state = state
        self._shared = shared
        self._function: Function | None = None
        self._worker = Worker(f"processor {state.id}", at_once=False)
        self._hand = shared.suspects.hand()
        self._changed = Wakeup()
        self._stopping = False
        self._former_hangs = False
        self._waits = Waits()
        self._standing = 0
        self._stood = trio.Event()
        """Whether nothing is in hand, while it stands."""
        self.queue: SourceQueue | None = None
        self.consumer: Consumer | None = None

    def configure(self, source: Source | None, function: Function | None) -> None:
        """Put another configuration in force at once, or as soon as the call in hand has finished."""
        before = self.state.source
        self.state.configure(source)
        self._function = function
        if source is None or _is_other(before, source):
            self._waits = Waits()
            self._stop_consumer()
        elif source.paused:
            self._stop_consumer()
        elif self.consumer is not None:
            self.consumer.configure(source)
        if source is None or source.paused or function is None:
            self._shared.suspects.do_not_await(self.state.id)
        if self.queue is not None:
            self.queue.reconsider()
        self._changed.notify()

    def stop(self) -> None:
        """Finish what is in hand; `run` returns then."""
        self._stopping = True
        self._shared.suspects.do_not_await(self.state.id)
        self._stop_consumer()
        self._changed.notify()

    def read_again(self) -> None:
        """Read the log anew from the oldest pending event after the call in hand: some wait before what was fed."""
        self._stop_consumer()

    @asynccontextmanager
    async def standing_still(self) -> AsyncIterator[None]:
        """Finish the call in hand and take nothing meanwhile: what is pending is on disk alone."""
        self._standing += 1
        self._stop_consumer()
        self._changed.notify()
        try:
            await self._stood.wait()
            yield
        finally:
            self._standing -= 1
            self._changed.notify()

    def requeued(self, numbers: Sequence[int]) -> None:
        """Take dead events that are pending again, on disk: each enters once, here or when the log is read."""
        queue = self.queue
        if self.consumer is not None:
            self.consumer.requeued([number for number in numbers if queue is None or not queue.will_feed(number)])
        if queue is not None:
            queue.notify()

    def retry(self) -> Retried:
        """Let what waits after a failure be tried now; of a source that is paused, once it goes on."""
        if self.consumer is not None:
            return self.consumer.retry_now()
        waits, self._waits = self._waits, Waits()
        return Retried(len(waits.retries), waits.seconds > 0)

    def reasons(self) -> PendingReasons:
        """Return why events wait."""
        if self.state.paused:
            return PendingReasons(is_paused=True)
        return PendingReasons() if self.consumer is None else self.consumer.reasons(self._shared.clock.now_ms())

    @property
    def stuck(self) -> bool:
        """A call of a removed or replaced processor has outrun its timeout and does not come back."""
        return self._former_hangs and self._worker.busy and not self._stopping

    @property
    def lacks_thread(self) -> bool:
        """Its processor is not called, since no thread can be had for it."""
        return self._worker.lacks_thread

    async def run(self) -> None:
        """Work until told to stop."""
        while not self._stopping:
            source = self.state.source
            if source is None or source.paused or self._standing:
                self._stood.set()
                await self._changed.wait()
                self._stood = trio.Event()
            elif self._function is not None and self._shared.suspects.waiting(self.state.id):
                await self._give_turns(source)
            else:
                await self._work(source)
        self._stood.set()

    async def _give_turns(self, source: Source) -> None:
        """Let the suspects of the source go first. Until then all its events wait on disk only."""
        await self._shared.index_ready.wait()
        if self._stopping or self.state.source is not source:
            return
        queue = self._make_queue(self._shared.committer.stored_end)
        self.consumer = self._make_consumer(SuspectConsumer, source, queue)
        await self.consumer.run()
        self._former_hangs = self._worker.busy and self.consumer.stopping
        await self._retire(source)

    async def _retire(self, source: Source) -> None:
        """Let go of the consumer, which has ended, when its outcomes are on disk; keep its waits for the next one."""
        assert self.consumer is not None
        await self.consumer.flushed()
        self.state.forget_releases()
        current = self.state.source
        if current is not None and not _is_other(current, source):
            self._waits = self.consumer.waits()
        self.state.consumer = self.consumer = None

    async def _work(self, source: Source) -> None:
        shared, state = self._shared, self.state
        pending = state.totals.pending > 0
        self.queue = self._make_queue(state.totals.oldest if pending else shared.committer.stored_end)
        self.consumer = self._make_consumer(Consumer, source, self.queue)
        state.queue, state.consumer = self.queue, self.consumer
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.queue.feed)
            nursery.start_soon(self._wait_for_former)
            await shared.index_ready.wait()
            if self._function is not None:
                await shared.suspects.over.wait()
            await self.consumer.run()
            nursery.cancel_scope.cancel()
        self._former_hangs = self._worker.busy
        state.queue = self.queue = None
        await self._retire(source)

    def _make_queue(self, start: int) -> SourceQueue:
        shared = self._shared
        return SourceQueue(
            self.state,
            events_max=shared.events_max,
            budget=shared.budget,
            reader=shared.reader,
            worker=shared.reading,
            clock=shared.clock,
            start=start,
            end=shared.committer.stored_end,
        )

    def _make_consumer(self, kind: type[Consumer], source: Source, queue: SourceQueue) -> Consumer:
        shared = self._shared
        processor = Processor(self._function, self._worker, self._hand) if self._function is not None else None
        return kind(
            self.state,
            queue,
            processor,
            source,
            committer=shared.committer,
            index=shared.index,
            reader=shared.reader,
            reading=shared.reading,
            clock=shared.clock,
            suspects=shared.suspects,
            events_max=shared.events_max,
            waits=self._waits,
        )

    async def _wait_for_former(self) -> None:
        """Note when the call of a former processor, if one hangs, has come back; no other is made before."""
        await self._worker.idle()
        self._former_hangs = False

    def _stop_consumer(self) -> None:
        if self.consumer is not None:
            self.consumer.stop()


def _is_other(before: Source | None, source: Source) -> bool:
    """Return whether the source has another processor than before."""
    return before is not None and before.processor != source.processor
