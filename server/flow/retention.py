"""The task of retention: what is due leaves the store, step by step, whenever the committer has a group to write.

Guarantees
- One step is in flight at a time; the next is planned when it is on disk, on a thread of its own.
- Nobody else changes records that are there between its plan and its step (`Committer.rewriting`).
- It goes by the store's time, and so removes nothing early, however a clock is set.
- While dead events are being given back to a processor none of them leaves: a requeue waits for the step in flight, and
  no step that comes later takes a dead event out before it has ended.
- On a full store it goes on, with the smallest steps: what leaves makes room. After another failure it waits.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import trio

from server.base import log
from server.base.worker import Worker
from server.flow.committer import Committer
from storage.errors import StoreError, StoreFull
from storage.lmdb_store.environment import Store
from storage.removal import Removal
from storage.retain.planner import Planner
from storage.retain.policy import Retention
from storage.statuses import Totals

PASS_SECONDS = 10.0
"""Between two passes: something may have outlived its time since, or grown over its bound."""

FULL_SECONDS = 1
"""Between two passes while the store is full."""


class RetentionTask:
    """Of one store. Made inside `trio.run`."""

    def __init__(
        self,
        committer: Committer,
        store: Store,
        policy: Retention,
        *,
        requeueing: Callable[[], bool],
        counted: Callable[[Mapping[str, Totals]], None],
    ) -> None:
        """`requeueing` says whether dead events are being given back; `counted` gets the totals that a step changed."""
        self.policy = policy
        self._committer = committer
        self._planner, self._planning = Planner(store), Worker("retention", aside=True)
        self._requeueing = requeueing
        self._counted = counted
        self._log = log.get("tidegate.retention")
        self.error: StoreError | None = None
        """Why nothing leaves now: the store cannot be read somewhere."""
        self._stopping = trio.Event()
        self._stopped = trio.Event()

    async def run(self) -> None:
        """Take out what is due until `stop`."""
        while not self._stopping.is_set():
            try:
                await self._pass()
                self.error = None
            except StoreError as error:  # a damage where nobody else looks must not end the server
                if str(error) != str(self.error):
                    self._log.warning("nothing leaves the store: it cannot be read", error=str(error))
                self.error = error
            with trio.move_on_after(FULL_SECONDS if self._is_full else PASS_SECONDS):
                await self._stopping.wait()
        self._stopped.set()

    async def stop(self) -> None:
        """Begin no other step; return when none is in flight."""
        self._stopping.set()
        await self._stopped.wait()

    @property
    def _is_full(self) -> bool:
        return self._committer.full or isinstance(self._committer.failure, StoreFull)

    async def _pass(self) -> None:
        """Plan and do steps until there is nothing more to do now."""
        more, new_pass = True, True
        while more and not self._stopping.is_set() and self._may_write():
            smallest, since_ms = self._committer.failure is not None, self._committer.on_its_way_since_ms
            async with self._committer.rewriting:
                removal = await self._planning.run(self._plan, new_pass, smallest, since_ms)
                new_pass, more = False, removal.more
                if not removal.is_empty:
                    more = await self._done(removal) and more

    def _may_write(self) -> bool:
        return self._committer.failure is None or isinstance(self._committer.failure, StoreFull)

    def _plan(self, new_pass: bool, smallest: bool, since_ms: int | None) -> Removal:
        now_ms = self._committer.store_clock.now_ms()
        return self._planner.plan(
            self.policy, now_ms, new_pass=new_pass, smallest=smallest, on_its_way_since_ms=since_ms
        )

    async def _done(self, removal: Removal) -> bool:
        """Have the step written; return whether it was."""
        return await self._committer.remove(replace(removal, dead_may_leave=not self._requeueing()), self._counted)
