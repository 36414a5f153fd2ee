"""The queue of one source: a bounded trio memory channel as the in-memory head of the log.

A source is *live* or *behind*. Live: what is committed goes into the channel at once. Behind: something of it waits on
disk only, so everything new waits behind that, and `feed` reads the log from `cursor` to `end` in order. It turns live
in the same synchronous step in which the last waiting event is fed, so no event is fed twice and none is skipped.
While requeued events are on their way to the disk nothing is fed: they could be read there before it is settled whether
they enter here or at the consumer.

Room is counted in events (`queue.events_max`, this source) and in bytes (`queue.bytes_max`, shared by all sources),
from the entry into the channel until the consumer gives it back with `taken_off`. One delivery always finds room if the
source holds nothing, however large it is: otherwise it could never pass.

Deferred events are always fed from disk, and each takes a token on its way. While none is left, nothing is kept in
memory: the page is forgotten, and one of so many events is read when a tenth of a second's tokens have come together.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import trio

from server.base.byte_budget import ByteBudget
from server.base.clock import Clock
from server.base.wakeup import Wakeup
from server.base.worker import Worker
from server.flow.source_state import Committed, SourceState
from storage.model import DIGEST_BYTES, Page, Span
from storage.read.reader import Reader

SPAN_BYTES = 1024
"""What a delivery in memory takes beside its body: facts, headers, the objects themselves."""

EVENT_BYTES = 256
"""What an event in memory takes beside its body: id, type, digest, and its place in lists."""

FEED_EVENTS_MAX = 5000
FEED_BYTES_MAX = 1048576
"""One reading step: a few milliseconds of work for the reader's thread."""

RELEASE_SECONDS = 0.1
"""How long tokens gather before deferred events are read again: ten reads a second at most."""

TOKENS_WAIT_NS_MAX = 3600 * 10**9
"""Of one wait for tokens; then it is reckoned anew. At the lowest rates the whole of it is no time that a clock has."""


class SourceQueue:
    """The queue of one source. `feed` runs as a task; the rest is synchronous but for `receive`."""

    def __init__(
        self,
        state: SourceState,
        *,
        events_max: int,
        budget: ByteBudget,
        reader: Reader,
        worker: Worker,
        clock: Clock,
        start: int,
        end: int,
    ) -> None:
        self._state = state
        self._events_max = events_max
        self._budget = budget
        self._reader = reader
        self._worker = worker
        self._clock = clock
        self._send, self._receive = trio.open_memory_channel[Span](events_max)
        self._heads: deque[tuple[int, int]] = deque()
        self._held_events = 0
        self._wakeup = Wakeup()
        self._limit_changed = Wakeup()
        self._outdated = False
        self._page_events_max = FEED_EVENTS_MAX
        self.cursor = start
        self.end = end
        self.behind = start < end
        self.keep_bodies = bool(state.source and not state.source.archive_only)

    def offer(self, run: Sequence[Committed]) -> None:
        """Take deliveries of one group, in the order of their numbers."""
        span = None if self.behind or self.keep_bodies else _joined(self._state.id, run)
        if span is not None and self._room(len(span.numbers)) == len(span.numbers):
            self._push(span)
            return
        for committed in run:
            self._offer(committed)

    def _offer(self, committed: Committed) -> None:
        if not committed.pending:
            return
        admitted, first = committed.admitted, committed.numbered.first
        if not self.behind:
            if admitted and self._room(admitted) == admitted:
                self._push(self._span(committed))
                first += admitted
            if first == committed.end:
                return
            self.behind, self.cursor = True, first
        self.end = committed.end
        self.notify()

    async def receive(self) -> Span:
        """Return the next span, when there is one."""
        span = await self._receive.receive()
        self._heads.popleft()
        return span

    def receive_nowait(self) -> Span | None:
        """Return the next span; None if there is none."""
        try:
            span = self._receive.receive_nowait()
        except trio.WouldBlock:
            return None
        self._heads.popleft()
        return span

    def taken_off(self, span: Span) -> None:
        """Give back the room of the span; call when nothing of it is in hand any more."""
        self._held_events -= len(span.numbers)
        self._budget.release(self._state.id, weight(span))

    def close(self) -> None:
        """Give back the room of everything that is still in the channel. The queue is of no use afterwards."""
        while (span := self.receive_nowait()) is not None:
            self.taken_off(span)

    def notify(self) -> None:
        """Let `feed` look again; call when there is room, or work."""
        self._wakeup.notify()

    def reconsider(self) -> None:
        """Reckon a wait for tokens anew; call when the rate limit has changed."""
        self._limit_changed.notify()

    def will_feed(self, number: int) -> bool:
        """Return whether this event, which is pending again, lies ahead of what was fed: then it comes from the log.

        A page that is being read may not have it yet, so it is read again.
        """
        if not (self.behind and self.cursor <= number < self.end):
            return False
        self._outdated = True
        return True

    def oldest(self) -> tuple[int, int] | None:
        """Return (number, received_at_ms) of the oldest event here; the time is 0 if it waits on disk."""
        if self._heads:
            return self._heads[0]
        return (self.cursor, 0) if self.behind else None

    async def feed(self) -> None:
        """Feed what waits on disk, for ever."""
        while True:
            self._wakeup.clear()
            if not self.behind or self._state.returning:
                await self._wakeup.wait()
            elif not self._has_room():
                with self._budget.listening(self.notify):
                    await self._wakeup.wait()
            else:
                self._outdated = False
                page = await self._worker.run(self._read, self.cursor, self.end)
                if self._outdated or self._state.returning:
                    continue
                tokens_after_ns = self._push_page(page)
                if tokens_after_ns:
                    await self._wait_for_tokens(tokens_after_ns)

    def _read(self, start: int, end: int) -> Page:
        return self._reader.page(
            self._state.id,
            start,
            end,
            events_max=self._page_events_max,
            bytes_max=FEED_BYTES_MAX,
            bodies=self.keep_bodies,
        )

    def _push_page(self, page: Page) -> int:
        """Push what there is room and what there are tokens for; return the nanoseconds until more tokens, or 0."""
        for span in page.spans:
            count = len(span.numbers)
            fitting = passed = self._room(count)
            if span.deferred:
                passed = self._state.release(fitting, self._clock.monotonic_ns())
            if passed:
                self._push(part(span, 0, passed))
            if passed < count:
                self.cursor = span.numbers[passed]
                return self._tokens_after_ns(count - passed) if passed < fitting else 0
        self.cursor = page.next
        self.behind = self.cursor < self.end
        self._page_events_max = min(2 * self._page_events_max, FEED_EVENTS_MAX)
        return 0

    def _tokens_after_ns(self, wanted: int) -> int:
        limiter, source = self._state.limiter, self._state.source
        rate = source.rate_limit_events_per_second if source else 0
        gathered = max(1, min(wanted, int(rate * RELEASE_SECONDS)))
        self._page_events_max = gathered
        return limiter.wait_ns(gathered, self._clock.monotonic_ns())

    async def _wait_for_tokens(self, nanoseconds: int) -> None:
        self._limit_changed.clear()
        with trio.move_on_after(min(nanoseconds, TOKENS_WAIT_NS_MAX) / 1e9):
            await self._limit_changed.wait()

    def _has_room(self) -> bool:
        """Return whether half the queue is free: with less, a record is read again and again for a few events each."""
        return self._held_events * 2 <= self._events_max and self._room(1) > 0

    def _room(self, count: int) -> int:
        """Return how many of `count` events there is room for."""
        source_id = self._state.id
        if self._budget.held_by(source_id) and not self._budget.has_room(source_id):
            return 0
        return min(count, self._events_max - self._held_events)

    def _span(self, committed: Committed) -> Span:
        numbered, count = committed.numbered, committed.admitted
        return Span(
            numbered=numbered if self.keep_bodies else None,
            source_id=self._state.id,
            numbers=range(numbered.first, numbered.first + count),
            digests=committed.digests[: DIGEST_BYTES * count],
            attempts=(0,) * count,
            deferred=False,
            received_at_ms=numbered.deliveries.received_at_ms[0],
            store_ms=committed.store_ms,
            body_digests=committed.body_digests[: DIGEST_BYTES * count],
        )

    def _push(self, span: Span) -> None:
        self._held_events += len(span.numbers)
        self._budget.add(self._state.id, weight(span))
        self._heads.append((span.numbers[0], span.received_at_ms))
        self._send.send_nowait(span)


def _joined(source_id: str, run: Sequence[Committed]) -> Span | None:
    """Return all events of these deliveries as one span without bodies; None if some are not to go on at once, came in
    another minute, or are known by their bodies while others are not."""
    first, end = run[0].numbered.first, run[-1].end
    if first == end or sum([committed.admitted for committed in run]) != end - first:
        return None
    if run[0].store_ms != run[-1].store_ms:
        return None
    bodies = [committed.body_digests for committed in run]
    if any(bodies) and not all(bodies):
        return None
    return Span(
        numbered=None,
        source_id=source_id,
        numbers=range(first, end),
        digests=b"".join([committed.digests[: DIGEST_BYTES * committed.admitted] for committed in run]),
        attempts=(0,) * (end - first),
        deferred=False,
        received_at_ms=run[0].numbered.deliveries.received_at_ms[0],
        store_ms=run[0].store_ms,
        body_digests=b"".join(bodies)[: DIGEST_BYTES * (end - first)],
    )


def part(span: Span, start: int, stop: int) -> Span:
    """Return the events `start` .. `stop - 1` of a span, as a span with the deliveries that hold these."""
    if start == 0 and stop == len(span.numbers):
        return span
    numbers = span.numbers[start:stop]
    return replace(
        span,
        numbered=span.numbered and span.numbered.holding(numbers[0], numbers[-1]),
        numbers=numbers,
        digests=span.digests[DIGEST_BYTES * start : DIGEST_BYTES * stop],
        body_digests=span.body_digests[DIGEST_BYTES * start : DIGEST_BYTES * stop],
        attempts=span.attempts[start:stop],
    )


def weight(span: Span) -> int:
    """Return the bytes that a span counts for. A part of a delivery counts its whole body, which it keeps alive."""
    deliveries = () if span.numbered is None else span.numbered.deliveries.bodies
    return sum(map(len, deliveries)) + SPAN_BYTES * max(1, len(deliveries)) + EVENT_BYTES * len(span.numbers)
