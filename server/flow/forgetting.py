"""Events are forgotten: what they held leaves every file, and stays away whatever dies when.

Guarantees
- One command at a time. While one plans and writes, nothing else changes or copies records that are there: retention,
  replays, and commands about dead events of the sources in question stand still.
- A pending event is left alone, or ends dead first, once its source has finished the call in hand. That is waited for
  while nothing but the source stands still, and not for ever.
- A store that is full is no reason for retention, which makes room, to stand still.
- What was rewritten is overwritten in all files before the command ends, or later if a transaction somewhere still sees
  what was there. That is owed from the first transaction on: the next start goes on with it.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from itertools import groupby

import trio

from server.base import log
from server.base.refusal import Refusal, refuse
from server.base.worker import Worker
from server.flow.committer import Committer
from server.flow.engine import Engine
from server.flow.overwriting import Overwriting
from server.flow.replaying import Replays
from server.intake.forgetting import without_items
from storage.errors import StoreError, StoreFull
from storage.forget.find import OfId, chosen, events_of_id
from storage.forget.overwrite import check_no_old_store
from storage.forget.plan import ForgetPlan
from storage.forget.statuses import discarded, ended
from storage.frozen import frozen
from storage.lmdb_store.environment import Store
from storage.model import StatusChange
from storage.read.snapshot import Snapshots
from storage.rewrite import Rewrite

HAND_WAIT_SECONDS = 60.0
"""The longest that a command waits for calls in hand: twice as long as a processor may take by default."""
OVERWRITE_WAIT_SECONDS = 60.0
"""The longest that a command waits until all is overwritten; that goes on by itself."""
ENDING = refuse("draining", "the server ends: some of it may be forgotten; send the command again")
HAND_WORDS = "a call in hand does not end, or a requeue; send the command again, or without pending events. Of one of:"


@frozen
class Forgotten:
    """What came of a command."""

    ids: int
    events: int
    pending: Sequence[str]
    """Ids that were left alone, since an event of theirs is pending."""
    unknown: Sequence[str]
    """Ids of which there is no event."""
    overwritten: bool
    """Whether no file has any of it."""


class Forgetting:
    """Of one server. `run` is its task. Made inside `trio.run`."""

    def __init__(
        self,
        engine: Engine,
        *,
        committer: Committer,
        overwriting: Overwriting,
        replays: Replays,
        forget_refusals: Callable[[str], Awaitable[None]],
        store: Store,
        now_ms: Callable[[], int],
    ) -> None:
        """`forget_refusals` takes what was sent out of the record of a source's refused requests. Raises OSError."""
        self._engine = engine
        self._committer = committer
        self._overwriting = overwriting
        self._replays = replays
        self._forget_refusals = forget_refusals
        self._store = store
        self._now_ms = now_ms
        self._snapshots, self._worker = Snapshots(store), Worker("forget", aside=True)
        self._lock = trio.Lock()
        self._stopping = False
        self._patience = trio.CancelScope()
        """For calls in hand."""
        self._log = log.get("tidegate.forget")

    async def forget(
        self, source_id: str, event_ids: Sequence[str], *, pending: bool, wait: bool
    ) -> Forgotten | Refusal:
        """Forget all events of these ids; if `pending`, those too that have no outcome yet. `wait` until what they held
        is overwritten."""
        try:
            check_no_old_store(self._store.path)
        except StoreError as error:
            return refuse("storage_failed", str(error))
        async with self._lock:
            await self._committer.flushed()
            found = await self._forget(source_id, event_ids, pending=pending)
            asked = self._overwriting.asked
        if isinstance(found, Refusal):
            return found
        self._log.info("forgotten", source=source_id, ids=found.ids, events=found.events)
        with trio.move_on_after(OVERWRITE_WAIT_SECONDS if wait else 0):
            await self._overwriting.done(asked)
        return replace(found, overwritten=self._overwriting.is_done(asked))

    async def _forget(self, source_id: str, event_ids: Sequence[str], *, pending: bool) -> Forgotten | Refusal:
        if self._stopping:
            return ENDING
        if self._committer.failure is not None:
            return self._refusal()
        found = await self._found(source_id, event_ids)
        sources = {source_id} | {each.source_id for events in found.values() for each in events}
        waits = pending and any(each.is_pending for events in found.values() for each in events)
        async with AsyncExitStack() as stack:
            with trio.move_on_after(HAND_WAIT_SECONDS) as self._patience:
                await stack.enter_async_context(self._engine.standing_still(sources, pending=waits))
            if self._patience.cancelled_caught:
                return refuse("overloaded", f"{HAND_WORDS} {', '.join(sorted(sources))}")
            await stack.enter_async_context(self._replays.standing_still())
            found = await self._found(source_id, event_ids)  # who came since is pending, and with a processor perhaps
            those = chosen(found, pending=waits)
            refusal = await self._take_out(source_id, those.events) if those.events else None
            if refusal is not None:
                return refusal
            return Forgotten(those.ids, len(those.events), those.pending, those.unknown, False)

    async def _found(self, source_id: str, event_ids: Sequence[str]) -> dict[str, list[OfId]]:
        sources = [state.id for state in self._engine.states]
        return {
            each: await self._worker.run(events_of_id, self._snapshots, source_id, each, sources)
            for each in dict.fromkeys(event_ids)
        }

    async def _take_out(self, source_id: str, events: Sequence[OfId]) -> Refusal | None:
        """Take what these events hold out of all records; return why not, if so."""
        if self._stopping:
            return ENDING
        for each in {source_id} | {event.source_id for event in events}:
            self._engine.forget_error(each)
            try:
                await self._forget_refusals(each)
            except OSError as error:
                return refuse("storage_failed", f"the record of refused requests cannot be written: {error.strerror}")
        for status in (ended, discarded):
            await self._change(status, events)
        async with self._committer.rewriting:
            return await self._rewrite(events)

    async def _rewrite(self, events: Sequence[OfId]) -> Refusal | None:
        """Write all steps; return why not, if so."""
        plan = ForgetPlan(self._snapshots, [each.number for each in events], cut=without_items, now_ms=self._now_ms())
        steps = plan.steps()
        try:
            while (step := await self._worker.run(_next, steps)) is not None:
                if self._stopping:
                    return ENDING
                if not await self._overwriting.rewrite(step):
                    return self._refusal()
        except StoreError as error:
            return refuse("storage_failed", f"the store cannot be read: {error}")
        return None

    async def _change(self, changes: Callable[..., StatusChange | None], events: Sequence[OfId]) -> None:
        for source_id, those in groupby(sorted(events, key=lambda each: each.source_id), lambda each: each.source_id):
            make = partial(
                changes,
                self._snapshots,
                source_id,
                sorted(those, key=lambda each: each.number),
                self._now_ms(),
                self._committer.store_clock.now_ms(),
            )
            change = await self._worker.run(make)
            if change is not None:
                await self._engine.change_status(change)

    def _refusal(self) -> Refusal:
        code = "storage_full" if isinstance(self._committer.failure, StoreFull) else "storage_failed"
        return refuse(code, "the store cannot be written now: some of it may be forgotten; send the command again")

    async def stop(self) -> None:
        """Begin no other step; return when nothing is in flight."""
        self._stopping = True
        self._patience.cancel()
        async with self._lock:
            await self._worker.idle()


def _next(steps: Iterator[Rewrite]) -> Rewrite | None:
    return next(steps, None)
