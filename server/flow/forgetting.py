"""Events are forgotten: what they held leaves every file, and stays away whatever dies when.

Guarantees
- One command at a time. While one plans and writes, nothing else changes or copies records that are there: retention,
  replays, and commands about dead events of the sources in question stand still.
- A pending event is left alone, or ends dead first, once its source has finished the call in hand.
- What was rewritten is overwritten in all files before the command ends, or later if a transaction somewhere still sees
  what was there. That is owed from the first transaction on: the next start goes on with it.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import groupby

import trio

from server.base import log
from server.base.refusal import Refusal, refuse
from server.base.wakeup import Wakeup
from server.base.worker import Worker
from server.flow.acknowledger import Acknowledger
from server.flow.committer import Committer
from server.flow.engine import Engine
from server.flow.replaying import Replays
from server.intake.events import rfc3339
from server.intake.forgetting import without_items
from storage.errors import StoreError, StoreFull
from storage.forget.find import OfId, events_of_id
from storage.forget.overwrite import Free, check_no_old_store, clear_holes, flush_pages, may_overwrite
from storage.forget.plan import ForgetPlan
from storage.forget.statuses import discarded, ended
from storage.frozen import frozen
from storage.lmdb_store.environment import Store
from storage.model import StatusChange
from storage.read.snapshot import Snapshots
from storage.rewrite import Erasure, Rewrite

OVERWRITE_WAIT_SECONDS = 60.0
"""The longest that a command waits until all is overwritten; that goes on by itself."""
POLL_SECONDS = 0.1
"""How often it is looked whether a transaction still sees what was there."""
TELL_SECONDS = 10.0
"""So long that may last before it is told."""
RETRY_SECONDS = 10.0
"""Between two tries to overwrite, if one failed."""
OWED_MS_MAX = 60_000
"""What is owed for longer is warned of: what still reads what was there, as a look-up, has mostly ended by then."""
UNDER_WAY = "the server is at it"
SEEN = "a process that reads the store still sees what was there: end its scan or its backup"


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
        acknowledger: Acknowledger,
        replays: Replays,
        forget_refusals: Callable[[str], Awaitable[None]],
        store: Store,
        now_ms: Callable[[], int],
    ) -> None:
        """`forget_refusals` takes what was sent out of the record of a source's refused requests. Raises OSError."""
        self._engine = engine
        self._committer = committer
        self._acknowledger = acknowledger
        self._replays = replays
        self._forget_refusals = forget_refusals
        self._store = store
        self._now_ms = now_ms
        self._snapshots, self._worker = Snapshots(store), Worker("forget")
        self._lock = trio.Lock()
        self._log = log.get("tidegate.forget")
        self._wakeup = Wakeup()
        self._asked = self._done = 0
        """How many rewritings there were, and how many of them are overwritten."""
        self._progress = trio.Event()
        self._why = UNDER_WAY
        """It is not overwritten yet."""
        with self._snapshots.take() as snapshot:
            self._owed_since_ms = snapshot.erasure_since_ms()
        if self._owed_since_ms:
            self._ask()

    def warning(self) -> str:
        """Return what there is to warn of: that something is not overwritten for long; "" if not so."""
        since_ms = self._owed_since_ms
        if not since_ms or self._now_ms() - since_ms <= OWED_MS_MAX:
            return ""
        return f"what was forgotten at {rfc3339(since_ms)} is not overwritten yet: {self._why}"

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
            async with self._replays.standing_still(), self._committer.rewriting:
                refusal, found = await self._forget(source_id, event_ids, pending=pending)
        if refusal is not None:
            return refusal
        self._log.info("forgotten", source=source_id, ids=found.ids, events=found.events)
        with trio.move_on_after(OVERWRITE_WAIT_SECONDS if wait else 0):
            await self._overwritten()
        return Forgotten(found.ids, found.events, found.pending, found.unknown, self._done == self._asked)

    async def _forget(
        self, source_id: str, event_ids: Sequence[str], *, pending: bool
    ) -> tuple[Refusal | None, Forgotten]:
        found = await self._found(source_id, event_ids)
        sources = {each.source_id for events in found.values() for each in events}
        waits = pending and any(each.is_pending for events in found.values() for each in events)
        async with self._engine.standing_still(sources, pending=waits):
            found = await self._found(source_id, event_ids)
            left = [] if pending else [each for each, events in found.items() if any(e.is_pending for e in events)]
            taken = {each: events for each, events in found.items() if events and each not in left}
            events = [each for those in taken.values() for each in those if not each.is_forgotten]
            unknown = [each for each, those in found.items() if not those]
            report = Forgotten(len(taken), len(events), left, unknown, False)
            refusal = await self._rewrite(source_id, events) if events else None
            return refusal, report

    async def _found(self, source_id: str, event_ids: Sequence[str]) -> dict[str, list[OfId]]:
        sources = [state.id for state in self._engine.states]
        return {
            each: await self._worker.run(events_of_id, self._snapshots, source_id, each, sources)
            for each in dict.fromkeys(event_ids)
        }

    async def _rewrite(self, source_id: str, events: Sequence[OfId]) -> Refusal | None:
        """Write all steps; return why not, if so."""
        for each in {source_id} | {event.source_id for event in events}:
            self._engine.forget_error(each)
            try:
                await self._forget_refusals(each)
            except OSError as error:
                return refuse("storage_failed", f"the record of refused requests cannot be written: {error.strerror}")
        for status in (ended, discarded):
            await self._change(status, events)
        plan = ForgetPlan(self._snapshots, [each.number for each in events], cut=without_items, now_ms=self._now_ms())
        steps = plan.steps()
        try:
            while (step := await self._worker.run(_next, steps)) is not None:
                if not await self._committer.erase(Erasure(step), self._engine.counted):
                    return self._refusal()
                self._ask()
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

    # Overwriting.

    def _ask(self) -> None:
        self._asked += 1
        self._owed_since_ms = self._owed_since_ms or self._now_ms()
        self._wakeup.notify()

    async def _overwritten(self) -> None:
        while self._done < self._asked:
            await self._progress.wait()

    async def run(self) -> None:
        """Overwrite what is to be, for ever. Ends only by cancellation, or by an error that is our bug."""
        while True:
            await self._wakeup.wait()
            asked = self._asked
            try:
                if not await self._overwrite():
                    raise StoreError("it cannot be written now")
            except (StoreError, OSError) as error:
                self._log.warning("what was forgotten is not overwritten yet", error=str(error))
                self._why = str(error)
                with trio.move_on_after(RETRY_SECONDS):
                    await trio.sleep_forever()
                self._wakeup.notify()
                continue
            self._done = asked
            self._progress.set()
            self._progress = trio.Event()
            if self._done == self._asked:
                self._owed_since_ms = 0
                self._log.info("what was forgotten is overwritten")

    async def _overwrite(self) -> bool:
        """Overwrite it in all files; return whether that succeeded. Raises StoreError, OSError."""
        asked, committer = self._asked, self._committer
        if not await self._acknowledger.overwrite_journal():
            return False
        await self._worker.run(self._store.renew)
        free = await self._worker.run(clear_holes, self._store)
        await self._not_seen(free)
        for stretch in free.stretches():
            if not await committer.erase(Erasure(overwrite=stretch), self._engine.counted):
                return False
        await self._worker.run(flush_pages, self._store)
        return asked != self._asked or await committer.erase(Erasure(erased=True), self._engine.counted)

    async def _not_seen(self, free: Free) -> None:
        """Return when no transaction sees any more what was there."""
        tell_at = trio.current_time() + TELL_SECONDS
        while True:
            await self._committer.write_time()
            if await self._worker.run(may_overwrite, self._store, free):
                self._why = UNDER_WAY
                return
            self._why = SEEN
            if trio.current_time() >= tell_at:
                self._log.warning("a process that reads the store keeps what was forgotten from being overwritten")
                tell_at += 60 * TELL_SECONDS
            await trio.sleep(POLL_SECONDS)


def _next(steps: Iterator[Rewrite]) -> Rewrite | None:
    return next(steps, None)
