"""What becomes of the events that a consumer has taken: their ids held, duplicates skipped, the others handed on.

What a source with a processor takes goes to `attempts.py`; of a source without one, what is not a duplicate is done.
"""

from collections.abc import Mapping, Sequence

from server.base.worker import Worker
from server.flow.attempts import Attempts
from server.flow.digests import Digests, digests_of
from server.flow.duplicates import Duplicates
from server.flow.item import Item, digests_of_items, items_of
from server.flow.outcome_writer import Duplicate, OutcomeWriter
from server.flow.parked import ParkedEvents
from server.flow.seen_in_store import SeenInStore
from server.flow.suspects import Suspects
from storage.dedup.index import DedupIndex
from storage.model import Span
from storage.read.reader import Reader


class Handling:
    """Of one source. `attempts` is None if it has no processor."""

    def __init__(
        self,
        parked: ParkedEvents,
        attempts: Attempts | None,
        *,
        outcomes: OutcomeWriter,
        seen: SeenInStore,
        suspects: Suspects,
        index: DedupIndex,
        reader: Reader,
        reading: Worker,
    ) -> None:
        self._parked = parked
        self._attempts = attempts
        self._outcomes = outcomes
        self._seen = seen
        self._suspects = suspects
        self._duplicates = Duplicates(index, reader, reading, self._known_in_store)

    async def take(self, parts: Sequence[Span]) -> None:
        """Handle events whose ids are not held yet. Raises `Stopped`."""
        if self._attempts is None and not any(any(span.attempts) for span in parts):
            digests = digests_of(parts)
            if not self._parked.holds_any and len(set(digests.all)) == len(digests.all):
                numbers = [number for span in parts for number in span.numbers]
                received = [each for span in parts for each in [span.store_ms] * len(span.numbers)]
                await self._archive(numbers, digests, [0] * len(numbers), received, parts[0].received_at_ms, held=False)
                return
        await self.take_held([item for item in items_of(parts) if self._hold(item)])

    async def take_held(self, items: list[Item]) -> None:
        """Handle events whose ids are held. Raises `Stopped`."""
        if not items:
            return
        if self._attempts is None:
            numbers, digests = [item.number for item in items], digests_of_items(items)
            attempts, received = [item.attempts for item in items], [item.store_ms for item in items]
            await self._archive(numbers, digests, attempts, received, items[0].received_at_ms, held=True)
            return
        fresh = await self.without_duplicates(items)
        if fresh:
            await self._attempts.process(fresh)

    async def without_duplicates(self, items: list[Item]) -> list[Item]:
        """Write those of these events, whose ids are held, that are duplicates; return the others."""
        digests = digests_of_items(items)
        known = await self._duplicates.among(digests, [item.store_ms for item in items])
        found = [
            Duplicate(item.number, digests.at(at), item.attempts, *known[at], item.store_ms)
            for at, item in enumerate(items)
            if at in known
        ]
        if found:
            self._outcomes.duplicates(found, items[0].received_at_ms, held=True)
        return [item for at, item in enumerate(items) if at not in known]

    def _hold(self, item: Item) -> bool:
        """Hold the item's digests and return True. If one is held already, or the item is to go alone (a restart cut a
        retry short, or it is a suspect), park it and return False."""
        event = item.to_be_parked()
        if not self._parked.hold(event):
            return False
        if item.attempts or self._suspects.of(item.number):
            self._parked.retry_anew(event)
            return False
        return True

    async def _archive(
        self,
        numbers: list[int],
        digests: Digests,
        attempts: list[int],
        received: list[int],
        received_at_ms: int,
        *,
        held: bool,
    ) -> None:
        """Write what becomes of these events without a processor. `received`: when each was, by the store's time;
        `received_at_ms`: when the first was; `held`: their ids are."""
        known = await self._duplicates.among(digests, received)
        if known:
            found = [
                Duplicate(numbers[at], digests.at(at), attempts[at], *known[at], received[at]) for at in sorted(known)
            ]
            self._outcomes.duplicates(found, received_at_ms, held=held)
            fresh = [at for at in range(len(numbers)) if at not in known]
            numbers, digests = [numbers[at] for at in fresh], digests.part(fresh)
            attempts = [attempts[at] for at in fresh]
        if numbers:
            self._outcomes.processed(numbers, digests, attempts, received_at_ms, {}, held=held)

    async def _known_in_store(self, requeued: Mapping[int, bytes]) -> dict[int, int]:
        """Return, by position, the number of a processed event for those of these digests, of requeued events, that
        have one in the store."""
        if not self._seen.knows(requeued.values()):
            if self._attempts is None:  # whose outcomes hold no ids
                await self._outcomes.flushed()
            await self._seen.look_up(requeued.values(), self._parked.together_numbers(), self._parked.held_digests())
        return self._seen.of(requeued)
