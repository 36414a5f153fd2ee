"""Which ids and bodies of requeued events were processed, as far as the store knows: from before the window of the
index, too.

To look through the store takes as long for thousands of ids as for one, so those of the requeued events that follow are
looked up with them. What was found stays true: only the consumer of the source processes its ids, and it says which.
"""

import heapq
from collections.abc import Collection, Mapping, Sequence

from server.base.worker import Worker
from server.flow.digests import digests_of
from storage.read.reader import Reader

LOOK_AHEAD_EVENTS = 10_000
"""Requeued events whose ids are looked up at a time: 2 MB."""


class SeenInStore:
    """What is known of the ids of one source's requeued events that are next."""

    def __init__(self, reader: Reader, reading: Worker) -> None:
        self._reader = reader
        self._reading = reading
        self._numbers: dict[bytes, int | None] = {}

    def knows(self, digests: Collection[bytes]) -> bool:
        """Return whether `of` can say it for these ids."""
        return self._numbers.keys() >= set(digests)

    async def look_up(self, digests: Collection[bytes], following: Sequence[int], held: Collection[bytes]) -> None:
        """Look for these ids, and for those of the first of the pending events `following`.

        The ids `held` are left out of the latter: an outcome may be on its way to the disk.
        """
        self._numbers = await self._reading.run(self._found, set(digests), following, held)

    def of(self, digests: Mapping[int, bytes]) -> dict[int, int]:
        """Return, by position, the number of a processed event for those of these ids that have one."""
        return {at: number for at, digest in digests.items() if (number := self._numbers[digest]) is not None}

    def processed(self, digests: Sequence[bytes], numbers: Sequence[int]) -> None:
        """Note that these events are processed."""
        if self._numbers:
            self._numbers |= {
                digest: number for digest, number in zip(digests, numbers, strict=True) if digest in self._numbers
            }

    def forget(self) -> None:
        """Give back the memory; call when no requeued event follows."""
        self._numbers.clear()

    def _found(self, digests: set[bytes], following: Sequence[int], held: Collection[bytes]) -> dict[bytes, int | None]:
        """In the reading thread: return what the store has of them."""
        spans = self._reader.spans(heapq.nsmallest(LOOK_AHEAD_EVENTS, following), bodies=False)
        digests |= set(digests_of(spans).all).difference(held)
        found: dict[bytes, int] = {}
        before: int | None = None
        while len(found) < len(digests):
            more, before = self._reader.processed(digests, before)
            found = more | found
            if before is None:
                break
        return {digest: found.get(digest) for digest in digests}
