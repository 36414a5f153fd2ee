"""Cutting batches out of the spans in a source's channel."""

from collections.abc import Sequence

from server.flow.queue import SourceQueue, part
from storage.model import Span


class Cutter:
    """Takes from the channel. A span's room there is given back when all of it has been worked off."""

    def __init__(self, queue: SourceQueue) -> None:
        self._queue = queue
        self._span: Span | None = None
        self._start = 0

    async def wait(self) -> None:
        """Return when there is something to take; call when `take` has found nothing."""
        self._span, self._start = await self._queue.receive(), 0

    def take(self, wanted: int) -> tuple[list[Span], list[Span]]:
        """Return parts of spans with `wanted` events together, and the spans of which nothing is left."""
        parts: list[Span] = []
        emptied: list[Span] = []
        while wanted > 0:
            if self._span is None:
                self._span, self._start = self._queue.receive_nowait(), 0
                if self._span is None:
                    break
            span, start = self._span, self._start
            stop = min(len(span.numbers), start + wanted)
            parts.append(part(span, start, stop))
            wanted -= stop - start
            self._start = stop
            if stop == len(span.numbers):
                emptied.append(span)
                self._span = None
        return parts, emptied

    def taken_off(self, emptied: Sequence[Span]) -> None:
        """Give back the room of these spans; call when nothing of them is in hand any more."""
        for span in emptied:
            self._queue.taken_off(span)

    def oldest(self) -> tuple[int, int] | None:
        """Return (number, received_at_ms) of the oldest event that was taken from the channel and not from here."""
        return None if self._span is None else (self._span.numbers[self._start], self._span.received_at_ms)

    def close(self) -> None:
        """Give back the room of everything that was not taken."""
        if self._span is not None:
            self._queue.taken_off(self._span)
            self._span = None
        self._queue.close()
