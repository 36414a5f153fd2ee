"""The committer: the one writer of the store. It makes groups of batches and changes of status, one transaction each.

Guarantees
- One transaction is in flight at a time: no locks. Nothing enters a queue, and nothing counts, before it is in the
  store.
- Batches keep their order; so do the changes of a source.
- A change of status is written however many tries it takes; its callback runs once, on the trio thread, after it is on
  disk. A step of retention, and one of the look-up index, goes with one group, and is given up if that fails.

Order of operations
1. `commit` and `change_status` only put things on a list.
2. *Write*: a moment later and when the writer has rested, or at once where somebody waits, all batches and all changes
   are one *group*, which the storage's writer puts into one transaction, in a thread of its own.
3. *Settle* (`group.py`), on the trio thread: new totals, then the queues, then the callbacks that have not run yet.

When a group fails, the batch that is not answered yet (it is the last) is refused and forgotten; what was answered, and
the changes, wait. From then on deliveries are refused at the door, and the rest alone is tried every second until it
succeeds. While the store is full, each try has half of the changes, down to one; each success doubles that, until none
waits. After an I/O error (`StoreFailed`) nothing is written any more until a restart, since the page cache may no
longer hold what fsync lost.

Rejected: committing on the loop (one slow fsync would stop every answer).
"""

from dataclasses import replace
from functools import partial

import trio

from server.base.histogram import EVENTS, SECONDS, Histogram
from server.base.wakeup import Wakeup
from server.base.worker import SoleWorker
from server.flow.batch import Batch
from server.flow.group import Counted, GroupSteps, OnDisk, PendingChange, PendingGroup, StepKind
from server.flow.source_state import SourceState
from storage.errors import StoreError, StoreFailed, StoreFull
from storage.index_step import IndexStep
from storage.lmdb_store.room import Room
from storage.model import StatusChange, Written
from storage.read.recent import Recent
from storage.removal import Removal
from storage.rewrite import Erasure
from storage.write.writer import Writer

RETRY_SECONDS = 1.0
"""Between two tries of a group after a failed commit: soon after somebody made room on the disk."""

GROUP_WAIT_SECONDS = 0.005
"""How long what nobody waits for, acknowledged deliveries and changes, waits for more to go with it. When nothing
comes, a receipt is so much later."""

GROUP_RESTS, GROUP_REST_SECONDS_MAX = 8, 0.05
"""Nor does what nobody waits for go before the writer has rested: so many times as long as the last group took, at most
so long. Else at a few hundred deliveries a second most groups would be of one or two, each with its own flush."""

FLUSHED_SECONDS_MAX = 5.0
"""How long a look-up waits for what was acknowledged before it. On a disk that hangs, what there is says more."""

FULL = StoreFull("what is left is kept for outcomes")


class Committer:
    """Takes numbered batches and changes of status; `run` writes them. Made inside `trio.run`."""

    def __init__(self, writer: Writer, room: Room) -> None:
        self._writer, self._writing = writer, SoleWorker("writer")
        self.room = room
        self.store_clock = writer.clock
        self.recent = Recent()
        self._batches: list[Batch] = []
        """Not in the store yet. All but the last are answered."""
        self._changes: list[PendingChange] = []
        """Not in the store yet."""
        self._steps = GroupSteps()
        """Go with the next group."""
        self.rewriting = trio.Lock()
        """Held by who plans a change of records that are there, until it is written."""
        self._awaited: list[trio.Event] = []
        """Who waits for a group that begins from here on."""
        self._changes_max: int | None = None  # in a group; None: all
        self._rests_until = 0.0
        """By trio's clock."""
        self._work = Wakeup()
        self._urgent = Wakeup()
        self._group_ended = trio.lowlevel.ParkingLot()
        self.failure: StoreError | None = None
        """Why the last group failed; None while all is well."""
        self.stored_end = writer.next_number
        """The number after the last event in the store."""
        self.commit_seconds = Histogram(SECONDS)
        self.commit_events = Histogram(EVENTS)

    def commit(self, batch: Batch) -> None:
        """Hand over a batch, whose numbers begin at `numbered_end`. One that is not answered must be the last until it
        has ended."""
        self._batches.append(batch)
        if not batch.is_answered:
            if self.failure is None:
                self._urgent.notify()
            else:  # came while the batch was put into the journal
                self._refuse_unanswered(self.failure)
        self._work.notify()

    def change_status(self, state: SourceState, change: StatusChange, on_disk: OnDisk) -> None:
        """Hand over a change of status. `on_disk` runs once it is there, however many tries that takes."""
        self._changes.append((state, change, on_disk))
        self._work.notify()

    async def remove(self, removal: Removal, counted: Counted) -> bool:
        """Write a step of retention with the next group; return whether that succeeded. One at a time."""
        self._steps.removal = removal, counted
        self._work.notify()
        if self.full:
            self.flush()
        await self._step_ended("removal")
        return self.failure is None

    async def removal_ended(self) -> None:
        """Return when no step of retention is on its way to the disk."""
        self.flush()
        await self._step_ended("removal")

    async def put_index(self, step: IndexStep) -> bool:
        """Write a step of the look-up index with the next group; return whether that succeeded. One at a time."""
        self._steps.index = step
        self._work.notify()
        await self._step_ended("index")
        return self.failure is None

    async def put_replay(self, identity: str, record: bytes | None) -> bool:
        """Write the record of a replay, None to remove it; return whether that succeeded. One at a time."""
        self._steps.replay = identity, record
        self._work.notify()
        self.flush()
        await self._step_ended("replay")
        return self.failure is None

    async def erase(self, erasure: Erasure, counted: Counted) -> bool:
        """Write a step by which something is forgotten; return whether that succeeded. One at a time."""
        self._steps.erasure = erasure, counted
        self._work.notify()
        self.flush()
        await self._step_ended("erasure")
        return self.failure is None

    async def _step_ended(self, kind: StepKind) -> None:
        while self._steps.waits(kind) and not self.lost:
            await self.group_ended()

    def flush(self) -> None:
        """Write now what waits for more to go with it."""
        self._urgent.notify()

    async def flushed(self) -> None:
        """Return when all that was acknowledged is in the store, or when that cannot be written now or takes too
        long."""
        last = next((batch for batch in reversed(self._batches) if batch.is_answered), None)
        with trio.move_on_after(FLUSHED_SECONDS_MAX):
            while last in self._batches and self.failure is None:
                self.flush()
                await self.group_ended()

    async def write_time(self) -> None:
        """Write the store's time, which goes with every group; return when it is there, or cannot be now."""
        written = trio.Event()
        self._awaited.append(written)
        self._work.notify()
        self.flush()
        while not written.is_set() and self.failure is None:
            await self.group_ended()

    async def ended(self, batch: Batch) -> None:
        """Return when the batch is in the store, or was refused."""
        while batch in self._batches:
            await self.group_ended()

    async def group_ended(self) -> None:
        """Return when the next transaction has ended, well or not."""
        await self._group_ended.park()

    @property
    def refusal(self) -> StoreError | None:
        """Why no deliveries can be taken now; None if they can."""
        return FULL if self.failure is None and self.full else self.failure

    @property
    def full(self) -> bool:
        """Whether what is left is kept for all but deliveries."""
        return self.room.is_full

    @property
    def done_file(self) -> int:
        """The descriptor that tells of the end of a transaction."""
        return self._writing.done_file

    @property
    def numbered_end(self) -> int:
        """The number after the last event that was handed over: the next one to be given."""
        return self._batches[-1].end if self._batches else self.stored_end

    @property
    def on_its_way_since_ms(self) -> int | None:
        """When the first of what is not in the store was received, by the store's time; None if all is there."""
        return self._batches[0].appends[0].store_ms if self._batches else None

    @property
    def is_settled(self) -> bool:
        """Every batch is in the store."""
        return not self._batches

    @property
    def is_busy(self) -> bool:
        """Something waits to be written, or for the store to recover."""
        return bool(self._batches or self._changes or self._awaited or self._steps.any_waits or self.failure)

    @property
    def lost(self) -> bool:
        """Nothing will be written any more: only a restart helps."""
        return isinstance(self.failure, StoreFailed)

    async def run(self) -> None:
        """Write for ever. Ends only by cancellation, or by an error that is our bug."""
        while True:
            await self._work.wait()
            while self.is_busy and not self.lost:
                if self.failure is not None:
                    await trio.sleep(RETRY_SECONDS)
                else:
                    await self._wait_for_more()
                await self._write_group()
            self._urgent.clear()

    async def _wait_for_more(self) -> None:
        """Give more a moment to come and go with the group, unless somebody waits for it."""
        if not self._urgent.is_notified:
            soonest = trio.current_time() + GROUP_WAIT_SECONDS
            with trio.move_on_at(max(soonest, self._rests_until)):
                await self._urgent.wait()
        self._urgent.clear()

    async def _write_group(self) -> None:
        taken = PendingGroup(self._batches.copy(), self._changes[: self._changes_max], replace(self._steps))
        group = taken.group()
        awaited, self._awaited = self._awaited, []
        started = trio.current_time()
        try:
            written = await self._writing.run(partial(self._writer.write, group))
        except StoreError as error:
            self._failed(error, len(taken.changes))
        else:
            self.failure = None
            del self._batches[: len(taken.batches)], self._changes[: len(taken.changes)]
            if self._changes_max is not None:
                self._changes_max = self._changes_max * 2 if self._changes else None
            took = trio.current_time() - started
            self._rests_until = started + took + min(GROUP_RESTS * took, GROUP_REST_SECONDS_MAX)
            self.commit_seconds.observe(took)
            self._count(taken, written)
            self.recent.take_over(group)
            taken.settle(group, written)
            for event in awaited:
                event.set()
        self._steps.end(taken.steps)
        self._group_ended.unpark_all()

    def _count(self, taken: PendingGroup, written: Written) -> None:
        if taken.batches:
            end = taken.batches[-1].end
            self.commit_events.observe(end - self.stored_end)
            self.stored_end = end
        self.room.use(written.used_bytes)

    def _failed(self, error: StoreError, changes: int) -> None:
        self.failure = error
        if isinstance(error, StoreFull):
            self._changes_max = max(1, changes // 2)
        self._refuse_unanswered(error)

    def _refuse_unanswered(self, error: StoreError) -> None:
        """Forget what was not answered, as if it had never come. It came last, and nothing was numbered since."""
        if self._batches and not self._batches[-1].is_answered:
            for each in self._batches.pop().waiting:
                each.refuse(error)
