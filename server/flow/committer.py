"""The committer: the one writer of the store. It groups deliveries and outcomes into transactions.

Guarantees
- A delivery's callback runs once, on the trio thread, after it is on disk (fsync), or with the error that kept it from
  there. Nothing acknowledged can be missing, whatever dies next.
- One transaction is in flight at a time, and one record of the journal: no locks. Nothing enters a queue, and nothing
  counts, before it is in the store.
- Deliveries keep their order within a source; so do outcomes.

Order of operations
1. `append` and `finish` only put things on a list: synchronous, so that a decision, its charge to the rate limit and
   this hand-over are one step.
2. *Acknowledge*: what came meanwhile gets numbers (`group.py`). A few deliveries go into the journal, in a thread, and
   are answered. Many, or large ones, wait for their transaction, and nothing is numbered until that has ended: should
   it fail, their numbers are given again.
3. *Write*: a moment later, or at once where somebody waits, all that was numbered and all outcomes, in the writer's own
   thread: one transaction.
4. *Settle*, on the trio thread: new totals, then the queues, then the callbacks that have not run yet.

When a group fails, its deliveries without an answer are refused and forgotten; what was answered, and outcomes, wait.
From then on deliveries are refused at the door, and the rest alone is tried every second until it succeeds. While the
store is full, each try has half of the outcomes, down to one; each success doubles that, until none waits. After an I/O
error (`StoreFailed`) nothing is written any more until a restart, since the page cache may no longer hold what fsync
lost.

Rejected: committing on the loop (one slow fsync would stop every answer), answers after the transaction only (at a few
thousand requests a second it took most of the time of each, and most of the server's), a timer that collects deliveries
before they are answered (a group is as large as what came during the last fsync).
"""

import secrets
from collections.abc import Sequence
from functools import partial
from itertools import groupby

import trio

from server.base import log
from server.base.histogram import EVENTS, SECONDS, Histogram
from server.base.worker import SoleWorker
from server.flow.group import Appended, Batch, Finished, Finishing, Waiting, group_of, into_queue, numbered, taken
from server.flow.source_state import SourceState
from server.intake.intake import Admission
from storage.errors import StoreError, StoreFailed, StoreFull
from storage.journal.journal import Journal
from storage.lmdb_store.environment import Store
from storage.model import Append, StatusChange, Written
from storage.statuses import EventStatus
from storage.write.writer import Writer

RETRY_SECONDS = 1.0
"""Between two tries of a group after a failed commit: soon after somebody made room on the disk."""

GROUP_WAIT_SECONDS = 0.005
"""How long what nobody waits for, acknowledged deliveries and outcomes, waits for more to go with it. At a thousand
deliveries a second that makes one transaction of five; when nothing comes, a receipt is that much later."""

CAUGHT_UP_SECONDS_MAX = 5.0
"""How long a look-up waits for what was acknowledged before it. On a disk that hangs, what there is says more."""

MANY_REQUESTS = 32
"""In a batch. So many wait for their transaction, which takes hardly longer than the journal would, and writes them
once. After it, whoever got an answer may already have sent the next request: to read those first, and take them along,
halves the commits under full load. It is no wait, since reading is work to be done."""

DELIVERY_SUFFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class Committer:
    """Takes deliveries and outcomes; `run` writes them. Made inside `trio.run`."""

    def __init__(self, writer: Writer, store: Store, journal: Journal) -> None:
        self._writer, self._writing = writer, SoleWorker("writer")
        self._journal, self._journaling = journal, SoleWorker("journal")
        self._store = store
        self._suffix = "".join(secrets.choice(DELIVERY_SUFFIX_ALPHABET) for _ in range(6))
        self._appends: list[Waiting] = []
        self._batches: list[Batch] = []
        """Numbered, and not in a transaction yet."""
        self._outcomes: list[Finishing] = []
        self._outcomes_max: int | None = None  # in a group; None: all
        self._came = trio.Event()
        self._work = trio.Event()
        self._urgent = trio.Event()
        self._hurried = False
        self._ended = trio.Event()
        """Set, and replaced, when a transaction has ended."""
        self._quiet = trio.Event()
        self._quiet.set()
        self.failure: StoreError | None = None
        """Why the last group failed; None while all is well."""
        self.next_number = writer.next_number
        """After the last event in the store."""
        self._numbered_to = self._answered_to = writer.next_number
        self.used_bytes = store.used_bytes()
        self.full = not store.has_room(self.used_bytes)
        """The store is so full that what is left is kept for outcomes."""
        self.journal_seconds = Histogram(SECONDS)
        self.commit_seconds = Histogram(SECONDS)
        self.commit_events = Histogram(EVENTS)
        if journal.error is not None:
            self._warn_of_journal()

    def append(self, state: SourceState, admission: Admission, done: Appended) -> None:
        """Hand over deliveries. `done` gets them with their numbers once they are on disk, or the error."""
        admitted = admission.admitted
        pending = admission.deliveries.count if admission.rest is EventStatus.DEFERRED else admitted
        state.appending(pending, pending - admitted)
        self._appends.append(Waiting(state, admission, pending, done))
        self._is_not_quiet()
        self._came.set()

    def finish(self, state: SourceState, outcomes: StatusChange, done: Finished) -> None:
        """Hand over outcomes. `done` runs once they are on disk, however many tries that takes."""
        self._outcomes.append((state, outcomes, done))
        self._is_not_quiet()
        self._work.set()

    async def run(self) -> None:
        """Acknowledge and write for ever. Ends only by cancellation, or by an error that is our bug."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._acknowledge)
            nursery.start_soon(self._write)

    def hurry(self) -> None:
        """Somebody waits for what nobody waited for."""
        self._hurried = True
        self._urgent.set()

    async def caught_up(self) -> None:
        """Return when all that was acknowledged before is in the store, or when that cannot be written now, or takes
        too long."""
        to = self._answered_to
        if self.next_number < to and self.failure is None:
            with trio.move_on_after(CAUGHT_UP_SECONDS_MAX):
                while self.next_number < to and self.failure is None:
                    self.hurry()
                    await self._ended.wait()

    async def settled(self) -> None:
        """Return when nothing waits to be written, or when nothing will be written any more."""
        self.hurry()
        while not self._quiet.is_set() and not self.lost:
            await self._quiet.wait()

    @property
    def lost(self) -> bool:
        """Nothing will be written any more: only a restart helps."""
        return isinstance(self.failure, StoreFailed)

    @property
    def journal_error(self) -> OSError | None:
        """Why there is no journal, if so: answers wait for transactions."""
        return self._journal.error

    @property
    def is_settled(self) -> bool:
        """Everything that has a number is in the store."""
        return self._numbered_to == self.next_number

    def _warn_of_journal(self) -> None:
        log.get("tidegate").warning("no journal: answers wait for transactions", error=str(self._journal.error))

    def _is_not_quiet(self) -> None:
        if self._quiet.is_set():
            self._quiet = trio.Event()

    # Deliveries get numbers, and a few of them their answers.

    async def _acknowledge(self) -> None:
        requests = 0
        while True:
            await self._came.wait()
            if requests >= MANY_REQUESTS:
                await _let_others_have_their_turn()
            waiting, self._appends = taken(self._appends)
            if not self._appends:
                self._came = trio.Event()
            if self.failure is not None:
                self._refuse(waiting, self.failure)
                self._work.set()
                continue
            if self.is_settled:
                self._journal.rewind()
            batch = numbered(self._numbered_to, self._suffix, waiting)
            self._numbered_to, requests = batch.end, batch.requests
            if requests < MANY_REQUESTS and self._journal.has_room(batch.size, batch.events):
                await self._put_into_journal(batch)
            self._batches.append(batch)
            self._work.set()
            if self.failure is not None:  # came while it was put into the journal
                self._refuse_unanswered(self.failure)
            if not batch.is_answered:
                self._urgent.set()
                await self._ended_with(batch)

    async def _put_into_journal(self, batch: Batch) -> None:
        started = trio.current_time()
        if await self._journaling.run(partial(self._journal.append, batch.appends)):
            self.journal_seconds.observe(trio.current_time() - started)
            self._answered_to = batch.end
            batch.answer()
        elif self._journal.error is not None:
            self._warn_of_journal()

    async def _ended_with(self, batch: Batch) -> None:
        """Return when the batch is in the store, or was refused."""
        while self.next_number < batch.end <= self._numbered_to:
            await self._ended.wait()

    # What has numbers is written, and outcomes.

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while (self._batches or self._outcomes or self.failure) and not self.lost:
                if self.failure is not None:
                    await trio.sleep(RETRY_SECONDS)
                else:
                    await self._wait_for_more()
                await self._write_group()
            self._hurried = False
            if self.lost or (self.is_settled and not self._appends):
                self._quiet.set()

    async def _wait_for_more(self) -> None:
        """Nothing but a receipt waits for this group: give more a moment to come, and to go with it."""
        if not self._hurried and (not self._batches or self._batches[-1].is_answered):
            self._urgent = trio.Event()
            with trio.move_on_after(GROUP_WAIT_SECONDS):
                await self._urgent.wait()
        self._hurried = False

    async def _write_group(self) -> None:
        batches, self._batches = self._batches, []
        outcomes = self._outcomes[: self._outcomes_max]
        self._outcomes = self._outcomes[len(outcomes) :]
        group = group_of(batches, outcomes)
        started = trio.current_time()
        try:
            written = await self._writing.run(partial(self._writer.write, group))
        except StoreError as error:
            self._failed(error, batches, outcomes)
        else:
            self.failure = None
            if self._outcomes_max is not None:
                self._outcomes_max = self._outcomes_max * 2 if self._outcomes else None
            self.commit_seconds.observe(trio.current_time() - started)
            self._settle(group.appends, batches, outcomes, written)
        ended, self._ended = self._ended, trio.Event()
        ended.set()

    def _settle(
        self, appends: Sequence[Append], batches: list[Batch], outcomes: list[Finishing], written: Written
    ) -> None:
        if batches:
            self.commit_events.observe(batches[-1].end - self.next_number)
            self.next_number = batches[-1].end
        self.used_bytes = written.used_bytes
        self.full = not self._store.has_room(written.used_bytes)
        for state, _, _ in outcomes:
            state.totals = written.totals[state.id]
        waiting = [each for batch in batches for each in batch.waiting]
        for state, run in groupby(zip(waiting, appends, written.digests, strict=True), key=lambda each: each[0].state):
            state.totals = written.totals[state.id]
            into_queue(state, list(run))
        for batch in batches:
            if not batch.is_answered:
                batch.answer()
        for _, _, done in outcomes:
            done()

    def _failed(self, error: StoreError, batches: list[Batch], outcomes: list[Finishing]) -> None:
        self.failure = error
        self._batches = batches + self._batches
        self._outcomes = outcomes + self._outcomes
        if isinstance(error, StoreFull):
            self._outcomes_max = max(1, len(outcomes) // 2)
        self._refuse_unanswered(error)

    def _refuse_unanswered(self, error: StoreError) -> None:
        """As if what was not answered had never come. It came last, and nothing was numbered since."""
        if self._batches and not self._batches[-1].is_answered:
            batch = self._batches.pop()
            self._numbered_to = batch.first
            self._refuse(batch.waiting, error)

    def _refuse(self, appends: list[Waiting], error: StoreError) -> None:
        for waiting in appends:
            waiting.state.not_appended(waiting.pending, waiting.deferred)
            waiting.done(error)


async def _let_others_have_their_turn() -> None:
    """Twice: trio finds out which descriptors are ready, and then runs who waits for them."""
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
