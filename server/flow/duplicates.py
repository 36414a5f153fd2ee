"""Which events are duplicates: each is judged by when it was received, against the outcomes of its id before."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import itemgetter

from server.base.worker import Worker
from storage.dedup.index import DedupIndex, Probe
from storage.read.reader import Reader

InStore = Callable[[Mapping[int, bytes]], Awaitable[dict[int, int]]]


class Duplicates:
    """Asks the index, and the store where that does not settle it."""

    def __init__(self, index: DedupIndex, reader: Reader, reading: Worker, in_store: InStore) -> None:
        """`in_store` says the same as `among` of ids, by position, from what the store holds."""
        self._index = index
        self._reader = reader
        self._reading = reading
        self._in_store = in_store

    async def among(self, digests: Sequence[bytes], received: Sequence[int]) -> dict[int, int]:
        """Return, by position, those that are duplicates, with the number of the event that was processed: they were
        received before the window after its outcome ended.

        `received`: when, by the store's time, to the minute; 0 for a requeued event, which is the duplicate of any
        outcome that the store holds.
        """
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
