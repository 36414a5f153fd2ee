"""The task of the look-up index: what has come is indexed step by step, each written with a group of the committer.

One step is in flight at a time; the next is planned when it is on disk, on a thread of its own. What is not indexed yet
is found too, by looking at it. So nothing hurries: while the store is full, or a group failed, the index waits.
"""

import math

import trio

from server.base import log
from server.base.worker import Worker
from server.flow.committer import Committer
from storage.codec.index_rows import GRANULE
from storage.errors import StoreError
from storage.index.planner import IndexPlanner
from storage.lmdb_store.environment import Store

LOOK_SECONDS = 0.5
"""Between two looks at what has come: so much at once makes fewer and longer segments."""


REST_FACTOR = 19
"""A step is followed by a rest of so many times as long as it took to plan: the index takes a twentieth of a core at
most from what comes meanwhile, and catches up when less comes."""

SWEEP_SECONDS = 3600
"""Between two looks for what has left, when nothing comes."""


class IndexingTask:
    """Of one store. Made inside `trio.run`."""

    def __init__(self, committer: Committer, store: Store) -> None:
        self._committer = committer
        self._planner, self._planning = IndexPlanner(store), Worker("indexing", aside=True)
        self._log = log.get("tidegate.index")
        self._stopping, self._stopped = trio.Event(), trio.Event()
        self.error: Exception | None = None
        """Why nothing is indexed now: the store cannot be read somewhere."""

    async def run(self) -> None:
        """Index what has come until `stop`."""
        reached, looked = 0, -math.inf
        while not self._stopping.is_set():
            is_due = self._committer.stored_end - reached >= GRANULE or trio.current_time() - looked >= SWEEP_SECONDS
            if is_due and self._may_write():
                looked = trio.current_time()
                reached = await self._index_all() or reached
            with trio.move_on_after(LOOK_SECONDS):
                await self._stopping.wait()
        self._stopped.set()

    async def stop(self) -> None:
        """Begin no other step; return when none is in flight."""
        self._stopping.set()
        await self._stopped.wait()

    def _may_write(self) -> bool:
        return self._committer.failure is None and not self._committer.full

    async def _index_all(self) -> int:
        """Plan and write steps until there is nothing more to do; return before which number that is so, 0 if the rest
        has to wait."""
        end = self._committer.stored_end
        while not self._stopping.is_set() and self._may_write():
            started = trio.current_time()
            try:
                step = await self._planning.run(self._planner.plan)
            except StoreError as error:  # a damage where nobody else looks must not end the server
                if str(error) != str(self.error):
                    self._log.warning("nothing more is indexed: the store cannot be read", error=str(error))
                self.error = error
                return 0
            except Exception as error:  # noqa: BLE001  # a bug here must not end the server: all is found without it
                if str(error) != str(self.error):
                    self._log.error("nothing more is indexed: this is a bug", exc_info=error)
                self.error = error
                return 0
            planned, self.error = trio.current_time(), None
            if step is None:
                return end
            if not step.is_empty and not await self._committer.put_index(step):
                self._planner.give_up()
            with trio.move_on_after((planned - started) * REST_FACTOR):
                await self._stopping.wait()
        return 0
