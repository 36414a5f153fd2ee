"""The acknowledger: deliveries get their numbers, and their answers as soon as they are on disk.

Guarantees
- A delivery's callback runs once, on the trio thread, after it is on disk (fsync), or with the error that kept it from
  there. Nothing acknowledged can be missing, whatever dies next.
- Deliveries keep their order within a source.
- One record of the journal is in flight at a time: no locks.

Order of operations
1. `append` only puts a delivery on a list: synchronous, so that a decision, its charge to the rate limit and this
   hand-over are one step.
2. What came meanwhile gets numbers: a *batch* (`batch.py`). A batch of a few deliveries goes into the journal, in a
   thread, and is answered. Many, or large ones, go unanswered.
3. The batch is handed over to the committer, which takes it into the store with the next group. Nothing is numbered
   behind one that is not answered until it has ended: should it fail, its numbers are given again.

While the store cannot be written, or has no room for them, deliveries are refused before they get a number.

Rejected: answers after the transaction only (at a few thousand requests a second it took most of the time of each, and
most of the server's), a timer that collects deliveries before they are answered (a batch is as large as what came
during the last fsync).
"""

import secrets
from functools import partial

import trio

from server.base import log
from server.base.histogram import SECONDS, Histogram
from server.base.wakeup import Wakeup
from server.base.worker import SoleWorker
from server.flow.batch import Appended, Batch, PendingAppend, numbered, split_off
from server.flow.committer import Committer
from server.flow.source_state import SourceState
from server.intake.intake import Admission
from storage.journal.journal import Journal
from storage.statuses import EventStatus
from storage.store_time import to_the_minute

MANY_REQUESTS = 32
"""In a batch. So many wait for their transaction, which takes hardly longer than the journal would, and writes them
once. After it, whoever got an answer may already have sent the next request: to read those first, and take them along,
halves the commits under full load. It is no wait, since reading is work to be done."""

DELIVERY_SUFFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class Acknowledger:
    """Takes deliveries; `run` numbers and answers them. Made inside `trio.run`."""

    def __init__(self, committer: Committer, journal: Journal) -> None:
        self._committer = committer
        self._journal, self._journaling = journal, SoleWorker("journal")
        self._suffix = "".join(secrets.choice(DELIVERY_SUFFIX_ALPHABET) for _ in range(6))
        self._waiting: list[PendingAppend] = []
        self._came = Wakeup()
        self._is_journaling = False
        self._has_work = True
        self._idle = trio.lowlevel.ParkingLot()
        self._journal_overwritten: trio.Event | None = None
        """Who waits until all that it held is overwritten."""
        self.journal_seconds = Histogram(SECONDS)
        if journal.error is not None:
            self._warn_of_journal()

    def append(
        self, state: SourceState, admission: Admission, done: Appended, replay: tuple[str, bytes] | None = None
    ) -> None:
        """Hand over deliveries. `done` gets them with their numbers once they are on disk, or the error.

        `replay`: id and record of the replay that they are a step of: what only the journal has would be without it, so
        they wait for their transaction.
        """
        admitted = admission.admitted
        pending = admission.deliveries.count if admission.rest is EventStatus.DEFERRED else admitted
        state.appending(pending, pending - admitted)
        self._waiting.append(PendingAppend(state, admission, pending, done, replay))
        self._came.notify()

    async def run(self) -> None:
        """Acknowledge for ever. Ends only by cancellation, or by an error that is our bug."""
        requests = 0
        while True:
            self._has_work = bool(self._waiting)
            if not self._has_work:
                self._idle.unpark_all()
            await self._came.wait()
            self._has_work = True
            if self._journal_overwritten is not None:
                await self._overwrite_journal(self._journal_overwritten)
            if requests >= MANY_REQUESTS:
                await _let_others_have_their_turn()
                self._came.clear()
            waiting, self._waiting = split_off(self._waiting)
            if self._waiting:
                self._came.notify()
            if (error := self._committer.refusal) is not None:
                for each in waiting:
                    each.refuse(error)
                continue
            if not waiting:
                continue
            if self._committer.is_settled:
                self._journal.rewind()
            store_ms = to_the_minute(self._committer.store_clock.now_ms())
            batch = numbered(self._committer.numbered_end, self._suffix, waiting, store_ms)
            requests = batch.requests
            may_go_there = requests < MANY_REQUESTS and all(each.replay is None for each in waiting)
            if may_go_there and self._journal.has_room(batch.size, batch.events):
                await self._put_into_journal(batch)
            self._committer.commit(batch)
            if not batch.is_answered:
                await self._committer.ended(batch)

    @property
    def done_file(self) -> int:
        """The descriptor that tells that the journal has been written."""
        return self._journaling.done_file

    async def settled(self) -> None:
        """Return when nothing waits to be written, or when nothing will be written any more."""
        while (self._waiting or self._is_journaling or self._committer.is_busy) and not self._committer.lost:
            self._committer.flush()
            await self._committer.group_ended()

    async def idle(self) -> None:
        """Return when none of the deliveries that were handed over waits for its answer."""
        while self._waiting or self._has_work:
            await self._idle.park()

    async def overwrite_journal(self) -> bool:
        """Overwrite all that the journal has held until now, once that is in the store; return whether it was."""
        self._journal_overwritten = overwritten = trio.Event()
        self._came.notify()
        await overwritten.wait()
        return self._journal.error is None and self._committer.failure is None

    async def _overwrite_journal(self, overwritten: trio.Event) -> None:
        while not (settled := self._committer.is_settled) and self._committer.failure is None:
            self._committer.flush()
            await self._committer.group_ended()
        if settled:
            await self._journaling.run(self._journal.overwrite)
        self._journal_overwritten = None
        overwritten.set()

    async def _put_into_journal(self, batch: Batch) -> None:
        started = trio.current_time()
        self._is_journaling = True
        if await self._journaling.run(partial(self._journal.append, batch.appends)):
            self.journal_seconds.observe(trio.current_time() - started)
            batch.answer()
        elif self._journal.error is not None:
            self._warn_of_journal()
        self._is_journaling = False

    def _warn_of_journal(self) -> None:
        log.get("tidegate").warning("no journal: answers wait for transactions", error=str(self._journal.error))


async def _let_others_have_their_turn() -> None:
    """Twice: trio finds out which descriptors are ready, and then runs who waits for them."""
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
