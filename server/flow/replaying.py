"""Replays: archived events of a source are given to a processor anew, as new events with numbers of their own.

Guarantees
- How far a replay is is written in the transaction that appends its step: whenever the process dies, it goes on where
  it was, and nothing is replayed twice or left out.
- One replay is at work at a time, in the order in which they were asked for; one whose source cannot take anything
  (it is paused, was taken out, has its backlog) is passed over.
- It takes no more than its turn: what it appends goes in batches of its own, in turn with fresh ones, and its next step
  waits until all but AHEAD_EVENTS of the ones before were taken.
- What came after it was asked for, and what is itself replayed, is not replayed.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import trio

from server.base import log
from server.base.refusal import Refusal, refuse
from server.base.worker import Worker
from server.flow.acknowledger import Acknowledger
from server.flow.committer import Committer
from server.flow.consumer import REQUEUED_EVENTS_MAX
from server.flow.engine import Engine
from server.flow.source_state import SourceState
from server.intake.events import each_event
from server.intake.intake import Admission
from server.intake.replays import again, target_refusal
from storage.deliveries import Deliveries, NumberedDeliveries, merged
from storage.errors import StoreError
from storage.frozen import frozen
from storage.model import EventRecord
from storage.read.query import EventQuery, Where
from storage.read.reader import Reader
from storage.read.replays import DONE, RUNNING, STOPPED, Replay, encode_replay

STEP_EVENTS_MAX = 500
"""Replayed in one transaction."""
STEP_BODY_BYTES_MAX = 2**20
"""Of the bodies of a step; one delivery may go over it."""
STEP_LOOKS_MAX = 5000
"""Events looked at for a step, about, which may so be empty: some tenths of a second in a thread of its own."""
AHEAD_EVENTS = 2000
"""Replayed events that may wait for their turn in memory."""
POLL_SECONDS = 0.1
"""How often it is looked whether there is room for another step."""
KEPT_MAX = 100
"""Replays on record; then the ones that ended first go."""
RUNNING_MAX = 20
"""Replays that have not ended. Each is on record, and one after the other is at work."""


@frozen
class Step:
    """What one step appends, and where the replay is after it."""

    deliveries: Deliveries | None
    after: Replay


class Count:
    """Counts what a replay of this query would replay, page by page."""

    def __init__(self, query: EventQuery) -> None:
        self._limit = query.limit
        self._following: EventQuery | None = replace(query, oldest_first=True, limit=None)
        self.events = 0
        self.gone = 0
        """Those that match, and of which the bodies are not there any more."""
        self.looked = 0

    def step(self, reader: Reader) -> bool:
        """Count a page; return whether there is another."""
        if self._following is None or self.events == self._limit:
            return False
        page = reader.select(self._following, build=each_event, bodies=True)
        for record in page.records:
            if self.events != self._limit:
                self.gone += is_gone(record)
                self.events += not (is_gone(record) or is_replay(record))
        self.looked += page.looked
        self._following = page.following
        return True


class Replays:
    """All replays of a server. `run` is its task."""

    def __init__(
        self,
        engine: Engine,
        acknowledger: Acknowledger,
        committer: Committer,
        reader: Reader,
        *,
        now_ms: Callable[[], int],
        backlog_events_max: int,
    ) -> None:
        """`reader` is used in a thread of its own."""
        self._engine = engine
        self._acknowledger = acknowledger
        self._committer = committer
        self._reader, self._reading = reader, Worker("replay", aside=True)
        self._now_ms = now_ms
        self._backlog_events_max = backlog_events_max
        self._replays = {each.id: each for each in reader.replays()}
        self._last: dict[str, int] = {}
        """The number that was appended last for each source."""
        self._lock = trio.Lock()
        """Held while records are written."""
        self._log = log.get("tidegate.replay")

    def standing_still(self) -> trio.Lock:
        """Return what keeps every replay where it is, while it is held."""
        return self._lock

    def report(self) -> Sequence[Replay]:
        """Return all replays on record, the first that was asked for first."""
        return list(self._replays.values())

    async def begin(self, query: EventQuery, to: str) -> Replay | Refusal:
        """Put a replay on record, to be at work as soon as the ones before it have ended."""
        if (refusal := self._target_refusal(to)) is not None:
            return refusal
        if sum(each.state == RUNNING for each in self._replays.values()) >= RUNNING_MAX:
            return refuse("overloaded", f"{RUNNING_MAX} replays have not ended yet")
        end = self._committer.stored_end
        bounded = replace(query, oldest_first=True, before=end if query.before is None else min(end, query.before))
        found = Replay(secrets.token_hex(4), bounded, to, query.after, self._now_ms())
        async with self._lock:
            await self._forget_oldest()
            if not await self._committer.put_replay(found.id, encode_replay(found)):
                return refuse("storage_failed", "the store cannot be written now")
            self._replays[found.id] = found
        self._log.info("replay begun", id=found.id, source=query.source_id, to=to)
        return found

    async def stop(self, identity: str) -> Replay | Refusal:
        """End a replay where it is; what was appended stays."""
        async with self._lock:
            found = self._replays.get(identity)
            if found is None:
                return refuse("not_found", f"there is no replay {identity!r}")
            if found.state == RUNNING and not await self._end(found, STOPPED):
                return refuse("storage_failed", "the store cannot be written now")
            return self._replays[identity]

    async def count(self, query: EventQuery, to: str) -> Count | Refusal:
        """Return how many events a replay of this query would replay now."""
        if (refusal := self._target_refusal(to)) is not None:
            return refusal
        found = Count(query)
        while await self._reading.run(found.step, self._reader):
            pass  # each step counts one page
        return found

    def _target_refusal(self, to: str) -> Refusal | None:
        state = self._engine.state(to)
        source = None if state is None else state.source
        return target_refusal(to, has_processor=None if source is None else not source.archive_only)

    async def run(self) -> None:
        """Work for ever. Ends only by cancellation, or by an error that is our bug."""
        while True:
            if not await self._next_step():
                await trio.sleep(POLL_SECONDS)

    async def _next_step(self) -> bool:
        """Do a step of the first replay whose source has room; return False if there is none."""
        for each in self._replays.values():
            state = self._engine.state(each.to)
            if each.state == RUNNING and state is not None and self._has_room(state):
                async with self._lock:
                    return await self._step(each.id, state)
        return False

    def _has_room(self, state: SourceState) -> bool:
        consumer, queue = state.consumer, state.queue
        if state.paused or consumer is None or queue is None or consumer.stopping:
            return False
        if self._committer.refusal is not None or self._is_backlogged(state):
            return False
        waits_on_disk = queue.behind and queue.cursor <= self._last.get(state.id, 0)
        return not waits_on_disk and REQUEUED_EVENTS_MAX - consumer.room < AHEAD_EVENTS

    def _is_backlogged(self, state: SourceState) -> bool:
        return bool(self._backlog_events_max) and state.pending >= self._backlog_events_max

    async def _step(self, identity: str, state: SourceState) -> bool:
        before = self._replays[identity]
        if before.state != RUNNING:
            return True
        try:
            step = await self._reading.run(next_step, self._reader, before, self._now_ms())
        except StoreError as error:
            self._log.warning("replay waits: the store cannot be read", id=identity, error=str(error))
            return False
        if step.deliveries is not None:
            return await self._append(state, step.deliveries, step.after)
        if step.after.state != RUNNING:
            return await self._end(step.after, step.after.state)
        self._replays[identity] = step.after
        return True

    async def _append(self, state: SourceState, deliveries: Deliveries, after: Replay) -> bool:
        """Append a step; return whether that succeeded."""
        ended = trio.Event()
        found: list[NumberedDeliveries | StoreError] = []

        def done(what: NumberedDeliveries | StoreError) -> None:
            found.append(what)
            if isinstance(what, NumberedDeliveries):
                self._replays[after.id] = after
                self._last[state.id] = what.end - 1
            ended.set()

        admission = Admission(deliveries, deliveries.count)
        self._acknowledger.append(state, admission, done, (after.id, encode_replay(after)))
        await ended.wait()
        return isinstance(found[0], NumberedDeliveries)

    async def _end(self, found: Replay, how: str) -> bool:
        where = [Where(each.path, ()) for each in found.query.where]  # what it looked for in payloads is not kept
        query = replace(found.query, where=where)
        ended = replace(found, query=query, state=how, ended_at_ms=self._now_ms())
        if not await self._committer.put_replay(found.id, encode_replay(ended)):
            return False
        self._replays[found.id] = ended
        self._log.info("replay ended", id=found.id, state=how, replayed=ended.replayed, gone=ended.gone)
        return True

    async def _forget_oldest(self) -> None:
        ended = [each.id for each in self._replays.values() if each.state != RUNNING]
        for identity in ended[: max(0, len(self._replays) + 1 - KEPT_MAX)]:
            if await self._committer.put_replay(identity, None):
                del self._replays[identity]


def next_step(reader: Reader, found: Replay, now_ms: int) -> Step:
    """Read what comes next of a replay: a bounded stretch of the log, of which perhaps nothing is replayed."""
    left = found.left
    if left == 0:
        return Step(None, replace(found, state=DONE))
    page = reader.select(
        replace(found.query, after=found.after, limit=None),
        build=each_event,
        bodies=True,
        events_max=STEP_EVENTS_MAX if left is None else min(left, STEP_EVENTS_MAX),
        looks_max=STEP_LOOKS_MAX,
    )
    taken, after = _first_of(page.records)
    if not taken and page.following is None:
        return Step(None, replace(found, state=DONE, gone=found.gone + sum(map(is_gone, page.records))))
    if after is None:
        assert found.query.before is not None
        after = found.query.before - 1 if page.following is None else page.following.after
    gone = sum(is_gone(each) for each in page.records if each.number <= after)
    moved = replace(found, after=after, replayed=found.replayed + len(taken), gone=found.gone + gone)
    return Step(_again(taken, found.to, now_ms) if taken else None, moved)


def _first_of(records: Sequence[EventRecord]) -> tuple[list[EventRecord], int | None]:
    """Return those to be replayed in one step, of one type, and up to which number it then was; None: all of them."""
    taken: list[EventRecord] = []
    size = 0
    for at, record in enumerate(records):
        if is_replay(record) or is_gone(record):
            continue
        delivery = record.numbered.deliveries
        is_new = not taken or taken[-1].delivery_id != record.delivery_id
        size += len(delivery.bodies[record.place]) if is_new else 0
        is_over = is_new and size > STEP_BODY_BYTES_MAX
        if taken and (is_over or delivery.source_type != taken[0].numbered.deliveries.source_type):
            return taken, records[at - 1].number
        taken.append(record)
    return taken, None


def _again(records: Sequence[EventRecord], source_id: str, now_ms: int) -> Deliveries:
    """Return these events as deliveries of this source, one for each that they came in."""
    made: list[NumberedDeliveries] = []
    for _, group in groupby(records, key=lambda record: record.delivery_id):
        those = list(group)
        delivery = those[0].numbered.part(those[0].place, those[0].place + 1)
        found = again(delivery, [record.number - delivery.first for record in those], source_id, now_ms)
        made.append(NumberedDeliveries(0, "", found))
    return merged(made).deliveries


def is_replay(record: EventRecord) -> bool:
    """Return whether the event is another one once more."""
    return bool(record.numbered.deliveries.replay_of)


def is_gone(record: EventRecord) -> bool:
    """Return whether there is no body to build the event from; read with bodies."""
    return not is_replay(record) and not record.has_body
