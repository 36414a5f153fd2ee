"""The horizon: what may yet be judged by the dedup index was not received before it, so older ids may leave.

An event is judged by when it was received, however long it then waits: one that is deferred, parked, of a source
without a consumer, or behind an outage holds the horizon, and with it the ids of all sources. A requeued event does
not: it is judged by the ids that are there.
"""

from server.base.worker import Worker
from server.flow.committer import Committer
from storage.read.reader import Reader
from storage.retain.policy import ON_ITS_WAY_MS
from storage.statuses import Totals


class Horizon:
    """Finds the horizon. `totals`: of every source, as committed at the start."""

    def __init__(self, committer: Committer, reader: Reader, reading: Worker, totals: list[Totals]) -> None:
        self._committer = committer
        self._reader = reader
        self._reading = reading
        self._start = min((each.oldest for each in totals if each.pending), default=committer.stored_end)

    async def find(self) -> int:
        """Return the horizon, by the store's time. While commits fail it does not move: 0."""
        latest = self._committer.store_clock.now_ms() - ON_ITS_WAY_MS
        self._start, waits_since = await self._reading.run(self._reader.waits_since, self._start)
        if self._committer.failure is not None:
            return 0
        return latest if waits_since is None else min(latest, waits_since)
