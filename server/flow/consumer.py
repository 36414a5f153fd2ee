"""The consumer of one source: dedup, processor, outcomes. In order, one event per id at a time.

An event's way: taken from the channel → its id is held (or it waits as a twin) → skipped as a duplicate where the id
was processed → processor → outcome to the committer → on disk: the id enters the index and is let go. Outcomes are not
waited for, so one transaction can carry those of many batches; but at most `events_max` of them wait.

Failures, as the sender of events would want them:
- a failed batch of two or more: the source waits, then that batch goes on one event at a time, so that a poisonous
  event takes none of its neighbours along;
- an event that failed alone, or by its own entry: one attempt is counted, and it steps aside for its own retries;
- an outage (`OSError`): the source waits and tries the same again; nothing is counted.

A source without a processor goes the same way with nothing in the middle.
"""

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import orjson
import trio

from server.clock import Clock
from server.flow.aside import Aside, AsideEvents
from server.flow.committer import Committer
from server.flow.processor import BatchFailed, Done, Failed, Processor
from server.flow.queue import SourceQueue, part
from server.flow.source_state import SourceState
from server.intake.events import build_events
from server.source import Source
from server.worker import Worker
from storage.index import DedupIndex
from storage.model import DIGEST_BYTES, Fate, Outcomes, Span, Stored
from storage.reader import Reader

WAIT_SECONDS = (1, 5, 25, 125, 300)
"""Between attempts; the last one repeats. Twelve attempts thus span 35 minutes."""

JITTER = 0.2
"""Up to this share is added to a wait, so that what failed together does not come back together."""

ARCHIVE_EVENTS_MAX = 2048
"""Events in a batch of a source without a processor: what dedup looks up in about a millisecond."""


class _Stopped(Exception):
    """The consumer was told to stop while it waited."""


@dataclass(frozen=True, slots=True)
class Item:
    """One event in hand."""

    number: int
    digest: bytes
    attempts: int
    received_at_ms: int
    stored: Stored | None


class Consumer:
    """Works one source's events off. `run` is its task; everything else is called on the trio thread."""

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
        events_max: int,
    ) -> None:
        self._state = state
        self._queue = queue
        self._processor = processor
        self._committer = committer
        self._index = index
        self._reader = reader
        self._reading = reading
        self._clock = clock
        self._events_max = events_max
        self._aside = AsideEvents()
        self._span: Span | None = None
        self._span_start = 0
        self._hand: tuple[int, int] | None = None
        self._awaiting: dict[int, tuple[int, int]] = {}
        self._awaiting_events = 0
        self._failures = 0
        self._stop = trio.Event()
        self._settled = trio.Event()
        self._resting: trio.CancelScope | None = None
        self.source = source
        """The configuration in force; a reload puts another in its place."""

    def stop(self) -> None:
        """Finish the call in hand, take nothing more; `run` returns then. What is left is pending, on disk."""
        self._stop.set()
        self.poke()

    def poke(self) -> None:
        """Something changed that the consumer may be waiting for."""
        if self._resting is not None:
            self._resting.cancel()

    def requeued(self, events: Sequence[Aside]) -> None:
        """Dead events that are pending again: their turn comes as soon as there is time."""
        for event in events:
            self._aside.turn(event)
        self.poke()

    @property
    def room(self) -> int:
        """How many more events may step aside."""
        return self._events_max - len(self._aside)

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    async def committed(self) -> None:
        """Return when none of its outcomes waits for its commit."""
        while self._awaiting:
            self._settled = trio.Event()
            await self._settled.wait()

    def oldest(self) -> tuple[int, int] | None:
        """(number, received_at_ms) of the oldest event here without an outcome on disk."""
        found = list(self._awaiting.values())
        found += [entry for entry in (self._hand, self._aside.oldest()) if entry is not None]
        if self._span is not None:
            found.append((self._span.numbers[self._span_start], self._span.received_at_ms))
        return min(found, default=None)

    async def run(self) -> None:
        """Work until told to stop."""
        try:
            while not self._stop.is_set():
                again = self._aside.next_due(trio.current_time())
                if again is not None:
                    await self._again(again)
                if self._blocked or not await self._next_batch():
                    if again is None:
                        await self._rest()
                    else:
                        await trio.lowlevel.checkpoint()
        except _Stopped:
            pass
        finally:
            if self._span is not None:
                self._queue.taken_off(self._span)
                self._span = None
            self._queue.close()

    @property
    def _blocked(self) -> bool:
        return len(self._aside) >= self._events_max or self._awaiting_events >= self._events_max

    async def _rest(self) -> None:
        """Until there is something to do."""
        due = self._aside.next_time()
        with trio.CancelScope(deadline=trio.current_time() + 3600 if due is None else due) as self._resting:
            if self._stop.is_set():
                return
            if self._blocked:
                await trio.sleep_forever()
            self._span, self._span_start = await self._queue.receive(), 0
        self._resting = None

    async def _next_batch(self) -> bool:
        """Take what the channel holds, up to a batch, and work it off; False where there was nothing."""
        source = self.source
        wanted = source.processor_batch_events_max if self._processor else ARCHIVE_EVENTS_MAX
        parts, emptied = self._take(wanted)
        if not parts:
            return False
        self._hand = (parts[0].numbers[0], parts[0].received_at_ms)
        try:
            await self._consume(parts)
        finally:
            self._hand = None
            for span in emptied:
                self._queue.taken_off(span)
        return True

    def _take(self, wanted: int) -> tuple[list[Span], list[Span]]:
        """Parts of spans with `wanted` events together, and the spans that they are the end of."""
        parts: list[Span] = []
        emptied: list[Span] = []
        while wanted > 0:
            if self._span is None:
                self._span, self._span_start = self._queue.receive_nowait(), 0
                if self._span is None:
                    break
            span, start = self._span, self._span_start
            stop = min(len(span.numbers), start + wanted)
            parts.append(part(span, start, stop))
            wanted -= stop - start
            self._span_start = stop
            if stop == len(span.numbers):
                emptied.append(span)
                self._span = None
        return parts, emptied

    async def _consume(self, parts: Sequence[Span]) -> None:
        if self._processor is None and not any(map(_tried, parts)):
            digests = [digest for span in parts for digest in split(span.digests)]
            if self._aside.hold_all(digests):
                await self._archive([number for span in parts for number in span.numbers], digests)
                return
        items = _items(parts)
        await self._process(await self._skip_duplicates([item for item in items if self._hold(item)]))

    def _hold(self, item: Item) -> bool:
        """Hold the item's id; False where it waits as a twin, or alone for a retry that a restart cut short."""
        event = Aside(item.number, item.digest, item.received_at_ms, item.attempts)
        if not self._aside.hold(event):
            return False
        if item.attempts:
            self._aside.turn(replace(event, holds=True))
            return False
        return True

    async def _archive(self, numbers: list[int], digests: list[bytes]) -> None:
        """All of these, whose ids are held, are done: the way of a source without a processor."""
        known = await self._known(b"".join(digests))
        if known:
            self._finish_duplicates([(numbers[at], digests[at], 0, known[at]) for at in sorted(known)])
            fresh = [at for at in range(len(numbers)) if at not in known]
            numbers = [numbers[at] for at in fresh]
            digests = [digests[at] for at in fresh]
        if numbers:
            self._finish(Fate.PROCESSED, numbers, digests, [0] * len(numbers))

    async def _again(self, event: Aside) -> None:
        """An event that stepped aside, alone."""
        if not event.holds and not self._aside.hold(event):
            return
        spans = await self._reading.run(self._read_again, event.number)
        if not spans:
            raise AssertionError(f"event {event.number} was held and has an outcome already")
        self._hand = (event.number, event.received_at_ms)
        try:
            await self._process(await self._skip_duplicates(_items(spans)))
        finally:
            self._hand = None

    def _read_again(self, number: int) -> list[Span]:
        return self._reader.spans([number], bodies=self._processor is not None)

    async def _skip_duplicates(self, items: list[Item]) -> list[Item]:
        """Those of the items, whose ids are held, that were not processed before; the others get their outcome."""
        known = await self._known(b"".join(item.digest for item in items)) if items else {}
        if not known:
            return items
        self._finish_duplicates(
            [(items[at].number, items[at].digest, items[at].attempts, known[at]) for at in sorted(known)]
        )
        return [item for at, item in enumerate(items) if at not in known]

    async def _known(self, digests: bytes) -> dict[int, int]:
        """Of these ids, by position: the number of the event of that id that was processed."""
        probe = self._index.probe(digests)
        known = dict(probe.known)
        if probe.unsure:
            pairs = [(_digest(digests, at), number) for at, number in probe.unsure]
            confirmed = await self._reading.run(self._reader.confirm, pairs)
            known |= {at: number for (at, number), same in zip(probe.unsure, confirmed, strict=True) if same}
        return known

    async def _process(self, items: list[Item]) -> None:
        """Everything up to an outcome, or a step aside, for each of these events, whose ids are held."""
        if not items:
            return
        try:
            entries = await self._call(items)
        except BatchFailed as failure:
            self._state.counts.processor_failures += 1
            if len(items) == 1 and not failure.outage:
                self._settle(items, [Failed(failure.error)])
            else:
                await self._one_by_one(items)
        else:
            self._settle(items, entries)

    async def _one_by_one(self, items: Sequence[Item]) -> None:
        await self._wait_out()
        for item in items:
            while True:
                try:
                    entries = await self._call([item])
                except BatchFailed as failure:
                    self._state.counts.processor_failures += 1
                    if failure.outage:
                        await self._wait_out()
                        continue
                    entries = [Failed(failure.error)]
                self._settle([item], entries)
                break

    async def _call(self, items: Sequence[Item]) -> list[Done | Failed]:
        if self._processor is None:
            return [Done()] * len(items)
        if self._processor.hanging:
            await self._unless_stopped(self._processor.free)
        if self._stop.is_set():
            raise _Stopped
        started = trio.current_time()
        try:
            return await self._processor(_events(items), self.source.processor_timeout_seconds)
        finally:
            self._state.processor_seconds.observe(trio.current_time() - started)

    async def _wait_out(self) -> None:
        """The source's wait after a failure that is not one event's own."""
        seconds = wait_seconds(self._failures)
        self._failures += 1
        with trio.move_on_after(seconds):
            await self._stop.wait()
            raise _Stopped

    async def _unless_stopped(self, wait: Callable[[], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                await self._stop.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop)
            await wait()
            nursery.cancel_scope.cancel()

    def _settle(self, items: Sequence[Item], entries: Sequence[Done | Failed]) -> None:
        """Outcomes for what is done or dead; what failed and may try again steps aside once its attempt is on disk."""
        done: list[Item] = []
        dead: list[Item] = []
        details: dict[int, bytes] = {}
        for item, entry in zip(items, entries, strict=True):
            if isinstance(entry, Done):
                done.append(item)
                if entry.result is not None:
                    details[item.number] = b'{"result":%b}' % entry.result
            elif item.attempts + 1 >= self.source.processor_attempts_max:
                dead.append(replace(item, attempts=item.attempts + 1))
                details[item.number] = orjson.dumps({"error": entry.error})
            else:
                self._step_aside(replace(item, attempts=item.attempts + 1))
        if done:
            self._failures = 0
        self._finish_items(Fate.PROCESSED, done, details)
        self._finish_items(Fate.DEAD, dead, details)

    def _step_aside(self, item: Item) -> None:
        event = Aside(item.number, item.digest, item.received_at_ms, item.attempts, holds=True)
        due = trio.current_time() + wait_seconds(item.attempts - 1)

        def attempted() -> None:
            self._aside.retry_at(due, event)
            self.poke()

        outcomes = Outcomes(self._state.id, Fate.PENDING, [item.number], [item.attempts], self._clock.now_ms())
        self._hand_over(outcomes, item.received_at_ms, attempted)

    def _finish_items(self, fate: Fate, items: Sequence[Item], details: Mapping[int, bytes]) -> None:
        if items:
            numbers = [item.number for item in items]
            kept = {number: details[number] for number in numbers if number in details}
            self._finish(fate, numbers, [item.digest for item in items], [item.attempts for item in items], kept)

    def _finish(
        self,
        fate: Fate,
        numbers: list[int],
        digests: list[bytes],
        attempts: list[int],
        details: Mapping[int, bytes] | None = None,
    ) -> None:
        """Processed or dead: hand the outcomes over, and let go of the ids once they are on disk."""
        outcomes = Outcomes(self._state.id, fate, numbers, attempts, self._clock.now_ms(), (), details or {})

        def finished() -> None:
            if fate is Fate.PROCESSED:
                self._index.add(b"".join(digests), numbers, outcomes.at_ms)
            originals = dict(zip(digests, numbers, strict=True)) if fate is Fate.PROCESSED else {}
            self._let_go(digests, originals)

        self._hand_over(outcomes, self._hand[1] if self._hand else 0, finished)

    def _finish_duplicates(self, duplicates: Sequence[tuple[int, bytes, int, int]]) -> None:
        """(number, digest, attempts, number of the processed twin) of events whose ids are held."""
        digests = [digest for _, digest, _, _ in duplicates]
        originals = {digest: original for _, digest, _, original in duplicates}
        self._hand_over(
            self._duplicates([(number, attempts, original) for number, _, attempts, original in duplicates]),
            self._hand[1] if self._hand else 0,
            lambda: self._let_go(digests, originals),
        )

    def _let_go(self, digests: Sequence[bytes], originals: Mapping[bytes, int]) -> None:
        """Let go of the ids; twins are duplicates of the processed event, or take the place of the dead one."""
        for digest, twins in self._aside.release(digests):
            original = originals.get(digest)
            if original is None:
                self._aside.succeed(twins)
            else:
                outcomes = self._duplicates([(twin.number, twin.attempts, original) for twin in twins])
                self._hand_over(outcomes, twins[0].received_at_ms, _nothing)
        self.poke()

    def _duplicates(self, found: Sequence[tuple[int, int, int]]) -> Outcomes:
        numbers, attempts, originals = zip(*sorted(found), strict=True)
        return Outcomes(self._state.id, Fate.DUPLICATE, numbers, attempts, self._clock.now_ms(), originals)

    def _hand_over(self, outcomes: Outcomes, received_at_ms: int, then: Callable[[], None]) -> None:
        count = len(outcomes.numbers)
        key = id(outcomes)
        self._awaiting[key] = (outcomes.numbers[0], received_at_ms)
        self._awaiting_events += count

        def on_disk() -> None:
            del self._awaiting[key]
            self._awaiting_events -= count
            then()
            self._settled.set()

        self._committer.finish(self._state, outcomes, on_disk)


def wait_seconds(failures: int) -> float:
    """The wait after `failures` failures before this one, with jitter."""
    return WAIT_SECONDS[min(failures, len(WAIT_SECONDS) - 1)] * (1 + JITTER * random.random())  # noqa: S311  # no secret


def _items(spans: Sequence[Span]) -> list[Item]:
    return [
        Item(number, digest, attempts, span.received_at_ms, span.stored)
        for span in spans
        for number, digest, attempts in zip(span.numbers, split(span.digests), span.attempts, strict=True)
    ]


def _events(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Fresh events, a delivery's body parsed once for all of its items that stand together."""
    events: list[dict[str, Any]] = []
    for stored, together in groupby(items, key=attrgetter("stored")):
        events += build_events(stored, [item.number - stored.first for item in together])
    return events


def split(digests: bytes) -> list[bytes]:
    """Packed digests, one by one."""
    return [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]


def _digest(digests: bytes, position: int) -> bytes:
    return digests[DIGEST_BYTES * position : DIGEST_BYTES * (position + 1)]


def _tried(span: Span) -> bool:
    return any(span.attempts)


def _nothing() -> None:
    pass
