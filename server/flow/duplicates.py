"""Which events are duplicates: each is judged by when it was received, against the outcomes before of its id, and of
its body, where equal bodies are duplicates."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from server.base.worker import Worker
from server.flow.digests import Digests
from storage.dedup.index import DedupIndex, Probe
from storage.read.reader import Reader

InStore = Callable[[Mapping[int, bytes]], Awaitable[dict[int, int]]]


class Original(NamedTuple):
    """What was processed before a duplicate."""

    number: int
    known_by: bytes
    """The digest that both have."""


class Duplicates:
    """Asks the index, and the store where that does not settle it."""

    def __init__(self, index: DedupIndex, reader: Reader, reading: Worker, in_store: InStore) -> None:
        """`in_store` returns the numbers of processed events by digests, by position, from what the store holds."""
        self._index = index
        self._reader = reader
        self._reading = reading
        self._in_store = in_store

    async def among(self, digests: Digests, received: Sequence[int]) -> dict[int, Original]:
        """Return, by position, those that are duplicates, with the event that was processed: they were received before
        the window after its outcome ended. That of the same id goes before one with the same body.

        `received`: when, by the store's time, to the minute; 0 for a requeued event, which is the duplicate of any
        outcome that the store holds.
        """
        known = await self._known(digests.all, digests.for_all(received))
        positions = digests.for_all(range(len(received)))
        return {positions[at]: Original(known[at], digests.all[at]) for at in sorted(known, reverse=True)}

    async def _known(self, digests: Sequence[bytes], received: Sequence[int]) -> dict[int, int]:
        """Return the same of single digests: by position, the number of the event that was processed."""
        times = set(received)
        probe = self._index.probe(digests, max(times))
        known = probe.known
        if not probe.certain:
            known = await self._reading.run(self._confirmed, probe, digests, received) | known
        if 0 in times:
            unknown = {at: digests[at] for at, ms in enumerate(received) if not ms and at not in known}
            known |= await self._in_store(unknown)
        return known

    def _confirmed(self, probe: Probe, digests: Sequence[bytes], received: Sequence[int]) -> dict[int, int]:
        """Return the same of the candidates; reads files of the index too."""
        candidates = sorted(probe.candidates(), key=itemgetter(1))  # by number: the newest is named
        times = self._reader.processed_at([(digests[at], number) for at, number in candidates])
        return {
            at: number
            for (at, number), at_ms in zip(candidates, times, strict=True)
            if at_ms is not None and received[at] < at_ms + self._index.window_ms
        }
