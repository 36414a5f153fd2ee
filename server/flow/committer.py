"""The committer: the one writer of the store. It groups deliveries and outcomes into transactions.

Guarantees
- A delivery's callback runs once, on the trio thread, after its group is on disk (fsync), or with the error that
  kept it from there. Nothing acknowledged can be missing, whatever dies next.
- One group is in flight at a time: no locks, no timer, and a failed group leaves no trace but its callbacks.
- Deliveries keep their order within a source; so do outcomes.

Order of operations
1. `append` and `finish` only put things on a list: synchronous, so that a decision, its charge to the rate limit and
   this hand-over are one step.
2. *Gather*, on the trio thread: take all that waits, give numbers, source by source (`group.py`). After a large group
   the connections are read once more before.
3. *Write*, in the writer's own thread: one transaction.
4. *Settle*, on the trio thread: new totals, then the queues, then the callbacks.

When a group fails, its deliveries are refused and forgotten; its outcomes wait. From then on deliveries are refused
at the door, and a group of outcomes alone tries every second until one succeeds. While the store is full, each try has
half of them, down to one; each success doubles that, until none waits. After an I/O error (`StoreFailed`) nothing is
written any more until a restart, since the page cache may no longer hold what fsync lost.

Rejected: committing on the loop (one slow fsync would stop every answer), a timer that collects deliveries (a group is
as large as what came during the last fsync, which adds no delay when there is little to do). Outcomes alone do wait a
moment for a delivery to ride along with.
"""

import secrets
from collections.abc import Sequence
from functools import partial

import trio

from server.flow.group import Appended, Finished, Finishing, Run, Waiting, gathered, requests_in, runs_of
from server.flow.source_state import Committed, SourceState
from server.histogram import EVENTS, SECONDS, Histogram
from server.intake.intake import Admission, AllAdmitted
from server.worker import SoleWorker
from storage.environment import Store
from storage.errors import StoreError, StoreFailed, StoreFull
from storage.model import Append, Fate, Group, Outcomes, Stored, Written
from storage.writer import Writer

RETRY_SECONDS = 1.0
"""Between two tries of a group of outcomes after a failed commit: soon after somebody made room on the disk."""

OUTCOMES_WAIT_SECONDS = 0.005
"""How long outcomes wait for a delivery to ride along with. At a few hundred deliveries a second one comes in that
time, which halves the commits; when none comes, a receipt is that much later."""

MANY_REQUESTS = 32
"""In a group. After one as large as this, whoever got an answer may already have sent the next request: to read those
first, and take them along, halves the commits under full load. It is no wait, since reading is work to be done."""

DELIVERY_SUFFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class Committer:
    """Takes deliveries and outcomes; `run` writes them. Made inside `trio.run`."""

    def __init__(self, writer: Writer, worker: SoleWorker, store: Store) -> None:
        self._writer = writer
        self._worker = worker
        self._store = store
        self._suffix = "".join(secrets.choice(DELIVERY_SUFFIX_ALPHABET) for _ in range(6))
        self._appends: list[Waiting] = []
        self._outcomes: list[Finishing] = []
        self._outcomes_max: int | None = None  # in a group; None: all
        self._work = trio.Event()
        self._carrier = trio.Event()
        self._requests = 0
        """In the last group."""
        self._hurried = False
        self._quiet = trio.Event()
        self._quiet.set()
        self.failure: StoreError | None = None
        """Why the last group failed; None while all is well."""
        self.next_number = writer.next_number
        self.used_bytes = store.used_bytes()
        self.full = not store.has_room(self.used_bytes)
        """The store is so full that what is left is kept for outcomes."""
        self.commit_seconds = Histogram(SECONDS)
        self.commit_events = Histogram(EVENTS)

    def append(self, state: SourceState, admission: Admission | AllAdmitted, done: Appended) -> None:
        """Hand over a delivery, or several of one event each that are all admitted. `done` gets them back with their
        numbers once they are on disk, or the error."""
        admitted = admission.admitted
        pending = admission.reading.count if admission.rest is Fate.DEFERRED else admitted
        state.appending(pending, pending - admitted)
        self._appends.append(Waiting(state, admission, pending, done))
        self._carrier.set()
        self._wake()

    def finish(self, state: SourceState, outcomes: Outcomes, done: Finished) -> None:
        """Hand over outcomes. `done` runs once they are on disk, however many tries that takes."""
        self._outcomes.append((state, outcomes, done))
        self._wake()

    async def run(self) -> None:
        """Write groups for ever. Ends only by cancellation, or by an error that is our bug."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while (self._appends or self._outcomes or self.failure) and not self.lost:
                if not self._appends and not self.failure:
                    await self._wait_for_carrier()
                if self._requests >= MANY_REQUESTS:
                    await _let_others_have_their_turn()
                await self._commit()
            self._refuse_waiting()
            self._hurried = False
            self._quiet.set()

    def hurry(self) -> None:
        """Somebody waits for outcomes: let them not wait for a delivery."""
        self._hurried = True
        self._carrier.set()

    async def settled(self) -> None:
        """Return when nothing waits to be written, or when nothing will be written any more."""
        self.hurry()
        while not self._quiet.is_set() and not self.lost:
            await self._quiet.wait()

    async def _wait_for_carrier(self) -> None:
        """Only outcomes wait: give a delivery a moment to come, since its transaction can carry them."""
        if not self._hurried:
            self._carrier = trio.Event()
            with trio.move_on_after(OUTCOMES_WAIT_SECONDS):
                await self._carrier.wait()
        self._hurried = False

    @property
    def lost(self) -> bool:
        """Nothing will be written any more: only a restart helps."""
        return isinstance(self.failure, StoreFailed)

    def _wake(self) -> None:
        self._work.set()
        if self._quiet.is_set():
            self._quiet = trio.Event()

    async def _commit(self) -> None:
        if self.failure is not None:
            self._refuse_waiting()
            await trio.sleep(RETRY_SECONDS)
        appends, self._appends = self._appends, []
        if self.failure is not None:  # came while it slept
            self._refuse(appends, self.failure)
            appends = []
        outcomes = self._take_outcomes()
        runs = runs_of(appends)
        group = gathered(self.next_number, self._suffix, runs, outcomes)
        started = trio.current_time()
        try:
            written = await self._worker.run(partial(self._writer.write, group))
        except StoreError as error:
            self.failure = error
            self._outcomes = outcomes + self._outcomes
            self._refuse(appends, error)
            if isinstance(error, StoreFull):
                self._outcomes_max = max(1, len(outcomes) // 2)
            return
        self.failure = None
        if self._outcomes_max is not None:
            self._outcomes_max = self._outcomes_max * 2 if self._outcomes else None
        self.commit_seconds.observe(trio.current_time() - started)
        self._settle(group, runs, outcomes, written)

    def _take_outcomes(self) -> list[Finishing]:
        taken = self._outcomes[: self._outcomes_max]
        self._outcomes = self._outcomes[len(taken) :]
        return taken

    def _settle(self, group: Group, runs: list[Run], outcomes: list[Finishing], written: Written) -> None:
        if group.appends:
            last = group.appends[-1].stored
            end = last.first + last.count
            self.commit_events.observe(end - self.next_number)
            self._requests = sum([requests_in(append) for append in group.appends])
            self.next_number = end
        self.used_bytes = written.used_bytes
        self.full = not self._store.has_room(written.used_bytes)
        for state, _, _ in outcomes:
            state.totals = written.totals[state.id]
        at = 0
        for run in runs:
            run.state.totals = written.totals[run.state.id]
            to = at + len(run.waiting)
            self._settle_run(run, group.appends[at:to], written.digests[at:to])
            at = to
        for _, _, done in outcomes:
            done()

    def _settle_run(self, run: Run, appends: Sequence[Append], digests: Sequence[bytes]) -> None:
        """Into the queue, and only then the answers."""
        run.state.appended(
            [
                Committed(append.stored, append.admitted, waiting.pending, packed)
                for waiting, append, packed in zip(run.waiting, appends, digests, strict=True)
            ]
        )
        counts = run.state.counts
        for waiting, append in zip(run.waiting, appends, strict=True):
            if waiting.admission.over_limit:
                run.state.went_over(waiting.admission.over_limit)
            if isinstance(append.stored, Stored):
                counts.rejected += len(append.stored.facts.rejected)
            waiting.done(append.stored)

    def _refuse_waiting(self) -> None:
        if self.failure is not None:
            appends, self._appends = self._appends, []
            self._refuse(appends, self.failure)

    def _refuse(self, appends: list[Waiting], error: StoreError) -> None:
        for waiting in appends:
            waiting.state.not_appended(waiting.pending, waiting.deferred)
            waiting.done(error)


async def _let_others_have_their_turn() -> None:
    """Twice: trio finds out which descriptors are ready, and then runs who waits for them."""
    await trio.lowlevel.checkpoint()
    await trio.lowlevel.checkpoint()
