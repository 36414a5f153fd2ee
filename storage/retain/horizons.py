"""Until when the ids of each source may be needed: a pending event is judged by when it was received, however long it
then waits. So an event that waits holds ids of its own source, and of no other."""

from collections.abc import Mapping

import numpy

from storage.read.paging import pending_in
from storage.read.snapshot import Snapshots
from storage.retain.policy import ON_ITS_WAY_MS


class Horizons:
    """Finds, for each source, since when its oldest pending event has been pending, by the store's time."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._starts: dict[str, int] = {}
        """By source: no event before this number has been pending since its receipt, nor will one be again."""

    def find(self, latest: int) -> Mapping[str, int]:
        """Return it for the sources that have pending events; `latest`: for all, at the latest.

        Reads what follows the oldest pending event that the totals of a source name, until it finds it.
        """
        with self._snapshots.take() as snapshot:
            waiting = {source_id: each.oldest for source_id, each in snapshot.totals().items() if each.pending}
        found = {}
        for source_id, oldest in waiting.items():
            self._starts[source_id] = max(oldest, self._starts.get(source_id, 0))
            found[source_id] = min(latest, self._waits_since(source_id, latest))
        return found

    def _waits_since(self, source_id: str, latest: int) -> int:
        while True:
            start = self._starts[source_id]
            with self._snapshots.take() as snapshot:
                for block in snapshot.blocks(start):
                    for pending in pending_in(snapshot, block, start, block.end, source_id):
                        places = numpy.asarray(pending.numbers) - block.first
                        times = block.rows["store_ms"][places]
                        since_receipt = numpy.flatnonzero(times)
                        if len(since_receipt):
                            self._starts[source_id] = pending.numbers[int(since_receipt[0])]
                            return int(times[since_receipt[0]])
                    self._starts[source_id] = start = block.end
                if not snapshot.exhausted:
                    return latest


def horizon_of_others(now_ms: int, on_its_way_since_ms: int | None = None) -> int:
    """Return the horizon of a source that has nothing pending in the store: something may be on its way there.

    `on_its_way_since_ms`: when the first of what is known to be was received.
    """
    latest = max(0, now_ms - ON_ITS_WAY_MS)
    return latest if on_its_way_since_ms is None else min(latest, on_its_way_since_ms)
