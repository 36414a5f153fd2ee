"""One source at work: builds its queue and consumer, and builds them anew when its processor changes or it returns.

Order of operations when a consumer is told to stop: the call in hand finishes and counts; the channel is emptied; its
outcomes reach the disk; only then are a new queue and consumer made, which read the log from the oldest pending event.
So no event is with two consumers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import trio

from server.base.byte_budget import SharedBytes
from server.base.clock import Clock
from server.base.source import Source
from server.base.worker import Worker
from server.flow.committer import Committer
from server.flow.consumer import Consumer
from server.flow.parked import Aside
from server.flow.processor import Processor
from server.flow.queue import SourceQueue
from server.flow.source_state import SourceState
from storage.dedup.index import DedupIndex
from storage.read.reader import Reader

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """What all sources share."""

    committer: Committer
    index: DedupIndex
    index_ready: trio.Event
    reader: Reader
    reading: Worker
    shared: SharedBytes
    clock: Clock
    events_max: int


class Runner:
    """Keeps one source at work while it is configured. `run` is its task."""

    def __init__(self, state: SourceState, parts: Parts) -> None:
        self.state = state
        self._parts = parts
        self._function: Function | None = None
        self._worker = Worker(f"processor {state.id}")
        self._changed = trio.Event()
        self._stopping = False
        self._former_hangs = False
        self.queue: SourceQueue | None = None
        self.consumer: Consumer | None = None

    def configure(self, source: Source | None, function: Function | None) -> None:
        """Take another configuration over at once, or as soon as the call in hand has finished."""
        before = self.state.source
        self.state.configure(source)
        self._function = function
        if source is None or (before is not None and before.processor != source.processor):
            self._stop_consumer()
        elif self.consumer is not None:
            self.consumer.configure(source)
        if self.queue is not None:
            self.queue.reconsider()
        self._changed.set()

    def stop(self) -> None:
        """Finish what is in hand; `run` returns then."""
        self._stopping = True
        self._stop_consumer()
        self._changed.set()

    def read_again(self) -> None:
        """Events wait before what was fed: read the log anew from the oldest pending event, after the call in hand."""
        self._stop_consumer()

    def requeued(self, events: Sequence[Aside]) -> None:
        """These dead events are pending again, on disk: each enters once, here or when the log is read."""
        queue = self.queue
        if self.consumer is not None:
            self.consumer.requeued([event for event in events if queue is None or not queue.will_feed(event.number)])
        if queue is not None:
            queue.poke()

    @property
    def stuck(self) -> bool:
        """A call of a removed or replaced processor has outrun its timeout and does not come back."""
        return self._former_hangs and self._worker.busy and not self._stopping

    async def run(self) -> None:
        """Work until told to stop."""
        while not self._stopping:
            if self.state.source is None:
                self._changed = trio.Event()
                await self._changed.wait()
            else:
                await self._work(self.state.source)

    async def _work(self, source: Source) -> None:
        parts, state = self._parts, self.state
        pending = state.totals.pending > 0
        end = parts.committer.next_number
        state.forget_releases()
        self.queue = SourceQueue(
            state,
            events_max=parts.events_max,
            shared=parts.shared,
            reader=parts.reader,
            worker=parts.reading,
            clock=parts.clock,
            start=state.totals.oldest if pending else end,
            end=end,
        )
        processor = Processor(self._function, self._worker) if self._function is not None else None
        self.consumer = Consumer(
            state,
            self.queue,
            processor,
            source,
            committer=parts.committer,
            index=parts.index,
            reader=parts.reader,
            reading=parts.reading,
            clock=parts.clock,
            events_max=parts.events_max,
        )
        state.queue, state.consumer = self.queue, self.consumer
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.queue.feed)
            nursery.start_soon(self._wait_for_former)
            await parts.index_ready.wait()
            await self.consumer.run()
            nursery.cancel_scope.cancel()
        self._former_hangs = self._worker.busy
        state.queue = self.queue = None
        await self.consumer.committed()
        state.consumer = self.consumer = None

    async def _wait_for_former(self) -> None:
        """The call of a former processor, if one hangs, has come back before another one can be made."""
        await self._worker.idle()
        self._former_hangs = False

    def _stop_consumer(self) -> None:
        if self.consumer is not None:
            self.consumer.stop()
