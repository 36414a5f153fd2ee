"""The consumer that a source with suspects has first: it gives each of them its turn, and is done."""

from server.flow.attempts import Stopped
from server.flow.consumer import Consumer
from server.flow.item import Item, items_of
from storage.model import Span


class SuspectConsumer(Consumer):
    """Takes nothing from its queue. Whoever failed is read from the log by the consumer that follows, and waits on."""

    async def run(self) -> None:
        """Give the suspects of the source their turns, or some of them, if told to stop."""
        try:
            for number in self._suspects.waiting(self._state.id):
                async with self._suspects.turn:
                    goes_on = await self._give_turn(number)
                    self._suspects.had_turn(self._state.id)
                    if not goes_on:
                        break
        except Stopped:
            return
        self._suspects.turns_over(self._state.id)

    async def _give_turn(self, number: int) -> bool:
        """Dedup first, then a death that is to be counted, then the call; return whether the next may follow."""
        span = await self._pending(number)
        if span is None:
            return True
        if span.deferred:
            self._state.release_paid()
        [item] = items_of([span])
        if not self._parked.hold(item.to_be_parked()):
            return True
        self._hand = (number, item.received_at_ms)
        try:
            goes_on = not await self._handling.without_duplicates([item]) or await self._try(item)
            await self._outcomes.flushed()
        finally:
            self._hand = None
        return goes_on

    async def _try(self, item: Item) -> bool:
        attempts, suspect = self._attempts, self._suspects.of(item.number)
        assert attempts is not None
        if suspect is not None and suspect.owed:
            self._suspects.counted(item.number)
            attempts.count_death(item, suspect)
            await self._outcomes.flushed()
            span = await self._pending(item.number)
            if span is None:
                return True
            [item] = items_of([span])
        return await attempts.give_turn(item)

    async def _pending(self, number: int) -> Span | None:
        """Read the event; return None if it has an outcome."""
        spans = await self._reading.run(self._reader.spans, [number])
        return spans[0] if spans else None
