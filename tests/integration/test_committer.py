"""The committer over a real store: groups, failures, recovery."""

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from server.base.clock import Clock
from server.base.worker import SoleWorker, Worker
from server.flow.acknowledger import MANY_REQUESTS, Acknowledger
from server.flow.batch import BATCH_EVENTS
from server.flow.committer import (
    FLUSHED_SECONDS_MAX,
    GROUP_REST_SECONDS_MAX,
    GROUP_WAIT_SECONDS,
    RETRY_SECONDS,
    Committer,
)
from server.flow.digests import Digests
from server.flow.horizon import Horizon
from server.flow.outcome_writer import OutcomeWriter
from server.flow.parked import ParkedEvents
from server.flow.source_state import SourceState
from server.intake.intake import Admission
from storage.dedup.index import DedupIndex
from storage.deliveries import NumberedDeliveries
from storage.errors import StoreError, StoreFailed, StoreFull
from storage.journal.journal import Journal
from storage.journal.records import read_journal
from storage.lmdb_store.environment import Store
from storage.lmdb_store.room import Room
from storage.model import Append, Group, StatusChange, Written
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from storage.removal import Removal
from storage.statuses import EventStatus, Totals
from storage.write.writer import Writer
from tests.support.store import AT_MS, MAP_SIZE_BYTES, STORE_MS, delivery
from tests.support.waiting import HANG_SECONDS, until


class Writing(Writer):
    """Writes, unless it was told what to raise; remembers the groups."""

    def __init__(self, store: Store) -> None:
        self.failures: list[Exception] = []
        self.groups: list[Group] = []
        super().__init__(store)

    def write(self, group: Group) -> Written:
        if self.failures:
            raise self.failures.pop(0)
        self.groups.append(group)
        return super().write(group)


class NoJournal(Journal):
    """Takes nothing: all wait for their transaction."""

    def append(self, appends: Sequence[Append]) -> bool:
        return False


@asynccontextmanager
async def committing(
    path: Path, kind: type[Writing] = Writing, *, journal: type[Journal] = NoJournal
) -> AsyncIterator[tuple[Acknowledger, Committer, Writing, Store]]:
    store = Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
    writer = kind(store)
    committer = Committer(writer, Room(store))
    acknowledger = Acknowledger(committer, journal(store))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.run)
            nursery.start_soon(acknowledger.run)
            yield acknowledger, committer, writer, store
            nursery.cancel_scope.cancel()
    finally:
        store.close()


def admission(
    *ids: str, source_id: str = "demo", admitted: int | None = None, rest: EventStatus = EventStatus.DEFERRED
) -> Admission:
    deliveries = delivery(1, list(ids), source_id=source_id).deliveries
    return Admission(deliveries, len(ids) if admitted is None else admitted, rest, 0)


async def test_no_room_takes_no_deliveries(tmp_path: Path) -> None:
    """What comes while there is no room is refused, by the journal too, and outcomes are written as ever."""
    async with committing(tmp_path, journal=Journal) as (acknowledger, committer, writer, _):
        state, results = SourceState("demo", Totals()), list[Any]()
        acknowledger.append(state, admission("a"), results.append)
        await acknowledger.settled()
        committer.room.is_full = True
        acknowledger.append(state, admission("b"), results.append)
        written = trio.Event()
        change = StatusChange("demo", EventStatus.PROCESSED, [1], [1], AT_MS, STORE_MS)
        committer.change_status(state, change, written.set)
        await written.wait()
        assert isinstance(results[1], StoreFull)
        assert (state.totals.received, state.totals.processed, writer.next_number) == (1, 1, 2)


@pytest.mark.parametrize("journal", [Journal, NoJournal])
async def test_it_is_idle_once_all_have_their_answers(tmp_path: Path, journal: type[Journal]) -> None:
    """Whether they wait for the journal or for their transaction; and what comes in the same moment is waited for."""
    async with committing(tmp_path, journal=journal) as (acknowledger, _, _, _):
        state, results = SourceState("demo", Totals()), list[Any]()
        await acknowledger.idle()
        acknowledger.append(state, admission("a"), results.append)
        await acknowledger.idle()
        assert len(results) == 1
        acknowledger.append(state, admission("b"), lambda _: acknowledger.append(state, admission("c"), results.append))
        await acknowledger.idle()
        assert len(results) == 2


async def test_what_waits_during_a_commit_is_one_group(tmp_path: Path) -> None:
    """Numbers run source by source, and each delivery gets its own back."""
    async with committing(tmp_path) as (acknowledger, _, writer, _):
        a, b = SourceState("a", Totals()), SourceState("b", Totals())
        results: list[Any] = []
        for state, event_id in ((a, "1"), (b, "2"), (a, "3")):
            acknowledger.append(state, admission(event_id, source_id=state.id), results.append)
        await acknowledger.settled()
        assert len(writer.groups) == 1
        assert [(stored.first, stored.source_id, list(stored.deliveries.ids)) for stored in results] == [
            (1, "a", ["1"]),
            (2, "a", ["3"]),
            (3, "b", ["2"]),
        ]
        assert (a.totals.received, a.pending, b.totals.received) == (2, 2, 1)


async def test_a_callback_finds_its_delivery_on_disk(tmp_path: Path) -> None:
    """Another reader of the same store finds it there."""
    async with committing(tmp_path) as (acknowledger, _, _, store):
        seen: list[object] = []

        def done(result: object) -> None:
            assert isinstance(result, NumberedDeliveries)
            seen.append(Reader(store).delivery(*result.delivery_ids()))

        acknowledger.append(SourceState("demo", Totals()), admission("1"), done)
        await acknowledger.settled()
        assert seen[0]


async def test_retention_goes_with_one_group(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A step is given up if its group fails, and whoever waits for its end goes on; the next goes with the next."""
    async with committing(tmp_path) as (_, committer, writer, _):
        counted: list[object] = []
        first, second = Removal(bodies_front=1), Removal(bodies_front=2)
        writer.failures.append(StoreError("not now"))
        assert not await committer.remove(first, counted.append)
        await committer.removal_ended()
        assert await committer.remove(second, counted.append)
        assert [group.removal for group in writer.groups if group.removal] == [second]
        assert len(counted) == 1


async def test_a_failed_group_leaves_no_trace(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Its deliveries hear of it, their source is as before, and their numbers are given again."""
    async with committing(tmp_path) as (acknowledger, _, writer, _):
        state = SourceState("demo", Totals())
        writer.failures = [StoreError("no")]
        results: list[Any] = []
        acknowledger.append(state, admission("1", "2", admitted=1), results.append)
        assert (state.pending, state.deferring) == (2, True)
        await until(lambda: bool(results))
        assert isinstance(results[0], StoreError)
        assert (state.pending, state.deferring) == (0, False)
        await acknowledger.settled()
        acknowledger.append(state, admission("3"), results.append)
        await acknowledger.settled()
        assert results[1].first == 1


async def test_followers_are_told_what_was_written(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """What a group brought is kept for them if it was written, and no longer once anything leaves the store."""
    async with committing(tmp_path) as (acknowledger, committer, writer, _):
        state = SourceState("demo", Totals())
        with committer.recent.following():
            writer.failures = [StoreError("no")]
            for event_id in ("lost", "kept"):
                acknowledger.append(state, admission(event_id), lambda result: None)
                await acknowledger.settled()
            assert [list(each.deliveries.ids) for each in committer.recent.since(1)] == [["kept"]]
            assert await committer.remove(Removal(bodies_front=1), lambda totals: None)
            assert not committer.recent.since(1)


async def test_outcomes_outlive_a_failed_group(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """They wait, deliveries are refused meanwhile, and a group of outcomes alone is tried until it succeeds."""
    async with committing(tmp_path) as (acknowledger, committer, writer, _):
        state = SourceState("demo", Totals())
        results: list[Any] = []
        acknowledger.append(state, admission("1"), results.append)
        await acknowledger.settled()
        writer.failures = [StoreFull("full")] * 3
        finished: list[str] = []
        committer.change_status(
            state, StatusChange("demo", EventStatus.PROCESSED, [1], [0], 5, 5), lambda: finished.append("yes")
        )
        committer.flush()
        await until(lambda: committer.failure is not None)
        acknowledger.append(state, admission("2"), results.append)
        await acknowledger.settled()
        assert isinstance(results[1], StoreFull)
        assert finished == ["yes"]
        assert committer.failure is None
        assert not writer.groups[-1].appends
        assert state.totals.processed == 1


async def test_outcomes_that_do_not_fit_are_split(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """A group larger than the room left in the store failed for ever, though each of its outcomes would have fitted."""

    class Tight(Writing):
        tries = 0

        def write(self, group: Group) -> Written:
            self.tries += 1
            assert self.tries < 20, "the same group again and again"
            if len(group.changes) > 1:
                raise StoreFull("full")
            return super().write(group)

    async with committing(tmp_path, Tight) as (acknowledger, committer, _, _):
        state = SourceState("demo", Totals())
        acknowledger.append(state, admission(*"abcde"), lambda result: None)
        await acknowledger.settled()
        finished: list[int] = []
        for number in range(1, 6):
            outcomes = StatusChange("demo", EventStatus.PROCESSED, [number], [0], 5, 5)
            committer.change_status(state, outcomes, partial(finished.append, number))
        await acknowledger.settled()
        assert finished == [1, 2, 3, 4, 5]
        assert committer.failure is None
        assert state.totals.processed == 5


async def test_recovery_is_found_out_without_outcomes(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """An empty group is written for real, or a store that is mended would stay refused."""
    async with committing(tmp_path) as (acknowledger, committer, writer, _):
        writer.failures = [StoreFull("full")] * 2
        acknowledger.append(SourceState("demo", Totals()), admission("1"), lambda result: None)
        await acknowledger.settled()
        assert committer.failure is None
        assert writer.groups == [Group((), [], {})] or not writer.groups[-1].appends


async def test_the_time_is_written_on_demand(tmp_path: Path) -> None:
    """With nothing to write, the store's time is written when somebody asks; if it cannot be, that one is not held."""
    async with committing(tmp_path) as (_, committer, writer, store):
        await committer.write_time()
        assert [(each.appends, each.changes) for each in writer.groups] == [([], [])]
        with Snapshots(store).take() as snapshot:
            assert snapshot.store_time() is not None
        writer.failures = [StoreFailed("EIO")]
        await committer.write_time()
        await committer.write_time()
        assert committer.lost


async def test_nothing_expires_while_commits_fail(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """What was acknowledged and is not in the store yet may need any id: the horizon stands still."""
    async with committing(tmp_path) as (_, committer, writer, store):
        horizon = Horizon(committer, Reader(store), Worker("test"), [])
        assert await horizon.find() > 0
        writer.failures = [StoreError("no")] * 1000
        await committer.write_time()
        assert await horizon.find() == 0


async def test_after_an_io_error_nothing_is_written(tmp_path: Path) -> None:
    """fsync said that it lost something: only a restart tells what."""
    async with committing(tmp_path) as (acknowledger, committer, writer, _):
        state = SourceState("demo", Totals())
        writer.failures = [StoreFailed("EIO")]
        results: list[Any] = []
        acknowledger.append(state, admission("1"), results.append)
        await acknowledger.settled()
        acknowledger.append(state, admission("2"), results.append)
        await until(lambda: len(results) == 2)
        assert committer.lost
        assert all(isinstance(result, StoreFailed) for result in results)
        assert writer.groups == []


async def test_a_bug_in_the_writer_ends_the_committer(tmp_path: Path) -> None:
    """Loud, since going on could acknowledge what is not there."""
    with pytest.RaisesGroup(pytest.RaisesExc(ZeroDivisionError), flatten_subgroups=True):
        async with committing(tmp_path) as (acknowledger, _, writer, _):
            writer.failures = [ZeroDivisionError()]
            acknowledger.append(SourceState("demo", Totals()), admission("1"), lambda result: None)
            await trio.sleep_forever()


def test_the_wait_between_tries_is_short() -> None:
    """Somebody who makes room on the disk wants to see it work."""
    assert RETRY_SECONDS <= 1


async def test_a_lost_store_ends_a_wait(tmp_path: Path) -> None:
    """Who waits until all outcomes are on disk does not wait for what nobody will write."""
    async with committing(tmp_path) as (acknowledger, committer, writer, _):
        state = SourceState("demo", Totals())
        acknowledger.append(state, admission("1"), lambda result: None)
        await acknowledger.settled()
        outcomes = OutcomeWriter(
            state,
            ParkedEvents(),
            committer=committer,
            index=DedupIndex(1),
            clock=Clock(),
            on_written=lambda: None,
            on_outcome=lambda numbers: None,
            on_processed=lambda digests, numbers: None,
        )
        writer.failures = [StoreFailed("EIO")] * 3
        outcomes.processed([1], Digests([bytes(16)]), [0], 0, {})
        with trio.fail_after(HANG_SECONDS):
            await outcomes.flushed()
        assert committer.lost
        assert outcomes.waiting_events == 1


async def test_outcomes_ride_along_with_a_delivery(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """They wait a moment for one; when none comes, or somebody waits for them, they are a group of their own."""
    async with committing(tmp_path) as (acknowledger, committer, writer, _):
        state = SourceState("demo", Totals())
        acknowledger.append(state, admission("1", "2", "3"), lambda result: None)
        await acknowledger.settled()
        finished: list[int] = []

        def finish(number: int) -> None:
            outcomes = StatusChange("demo", EventStatus.PROCESSED, [number], [0], 5, 5)
            committer.change_status(state, outcomes, lambda: finished.append(number))

        finish(1)
        await trio.testing.wait_all_tasks_blocked()
        assert finished == []
        acknowledger.append(state, admission("4"), lambda result: None)
        await until(lambda: finished == [1])
        assert [(len(group.appends), len(group.changes)) for group in writer.groups] == [(1, 0), (1, 1)]
        finish(2)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(GROUP_WAIT_SECONDS)
        await until(lambda: finished == [1, 2])
        finish(3)
        await trio.testing.wait_all_tasks_blocked()
        committer.flush()
        await until(lambda: finished == [1, 2, 3])


class Gated(Writing):
    """Waits in front of each transaction until it is let through."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.gate = threading.Semaphore(0)

    def write(self, group: Group) -> Written:
        assert self.gate.acquire(timeout=HANG_SECONDS)
        return super().write(group)


@pytest.mark.parametrize(
    ("took", "rest"), [(0.001, 0.008), (0.004, 0.032), (10, GROUP_REST_SECONDS_MAX)], ids=["short", "usual", "long"]
)
async def test_the_writer_rests_after_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock, took: float, rest: float
) -> None:
    """What nobody waits for is written when it has rested in proportion; what somebody waits for, at once."""
    begun = list[float]()
    run = SoleWorker.run

    async def noting_run(worker: SoleWorker, job: partial[Any]) -> Any:
        if job.func.__name__ == "write":
            begun.append(trio.current_time())
        return await run(worker, job)

    monkeypatch.setattr(SoleWorker, "run", noting_run)
    async with committing(tmp_path, Gated, journal=Journal) as (acknowledger, committer, writer, _):
        assert isinstance(writer, Gated)
        results = list[Any]()

        async def answered(event_id: str) -> None:
            acknowledger.append(SourceState("demo", Totals()), admission(event_id), results.append)
            await until(lambda: len(results) == int(event_id))
            await trio.testing.wait_all_tasks_blocked()

        async def written() -> float:
            writer.gate.release()
            await until(lambda: committer.is_settled)
            return trio.current_time()

        await answered("1")
        committer.flush()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(took)
        ended = await written()
        await answered("2")
        for part in (rest - 0.0001, 0.0002):
            mock_clock.jump(part)
            await trio.testing.wait_all_tasks_blocked()
        assert begun == [0, pytest.approx(ended + rest + 0.0001)]
        ended = await written()
        await answered("3")
        committer.flush()
        await trio.testing.wait_all_tasks_blocked()
        assert begun[2] == ended
        await written()


@pytest.mark.parametrize("who", ["retention of a full store", "who waits for retention"])
async def test_no_rest_keeps_anybody_waiting(tmp_path: Path, mock_clock: trio.testing.MockClock, who: str) -> None:
    """Retention that makes room for deliveries, and what follows a step of it, do not wait for the writer's rest."""
    async with committing(tmp_path, Gated) as (_, committer, writer, _):
        assert isinstance(writer, Gated)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.write_time)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(1)
            writer.gate.release(2)
            await until(lambda: len(writer.groups) == 1)
        committer.room.is_full = who == "retention of a full store"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.remove, Removal(bodies_front=1), lambda totals: None)
            await trio.testing.wait_all_tasks_blocked()
            if not committer.full:
                nursery.start_soon(committer.removal_ended)
            await until(lambda: len(writer.groups) == 2)


async def test_a_few_deliveries_are_answered_before_their_transaction(tmp_path: Path) -> None:
    """From the journal, in the order of their numbers; nothing is in a queue or in totals before the transaction."""
    async with committing(tmp_path, Gated, journal=Journal) as (acknowledger, committer, writer, store):
        assert isinstance(writer, Gated)
        state, results = SourceState("demo", Totals()), list[Any]()
        for event_id in "abc":
            acknowledger.append(state, admission(event_id), results.append)
            await until(lambda event_id=event_id: len(results) == "abc".index(event_id) + 1)
        assert [stored.first for stored in results] == [1, 2, 3]
        assert [(each.first, each.end) for each in read_journal(store, 1)] == [(1, 2), (2, 3), (3, 4)]
        assert (state.pending, state.totals.received, committer.stored_end) == (3, 0, 1)
        writer.gate.release(3)
        await acknowledger.settled()
        assert (state.pending, state.totals.received, committer.stored_end) == (3, 3, 4)
        assert sum(acknowledger.journal_seconds.counts) == 3


async def test_many_deliveries_wait_for_their_transaction(tmp_path: Path) -> None:
    """And so do large ones; what comes meanwhile waits for its number, since theirs may be given again."""
    async with committing(tmp_path, Gated, journal=Journal) as (acknowledger, _, writer, store):
        assert isinstance(writer, Gated)
        state, results = SourceState("demo", Totals()), list[Any]()
        for at in range(MANY_REQUESTS):
            acknowledger.append(state, admission(str(at)), results.append)
        await trio.testing.wait_all_tasks_blocked()
        acknowledger.append(state, admission("later"), results.append)
        await trio.testing.wait_all_tasks_blocked()
        assert (results, list(read_journal(store, 1))) == ([], [])
        writer.failures = [StoreError("no")]
        writer.gate.release(9)
        await until(lambda: len(results) == MANY_REQUESTS + 1)
        assert all(isinstance(result, StoreError) for result in results)


@pytest.mark.parametrize("error", [StoreError("no"), StoreFailed("EIO")])
async def test_deliveries_behind_a_failed_group_are_refused(tmp_path: Path, error: StoreError) -> None:
    """Many deliveries that came while a few answered ones were written: they had waited for ever after an I/O error."""
    async with committing(tmp_path, Gated, journal=Journal) as (acknowledger, committer, writer, _):
        assert isinstance(writer, Gated)
        state, results = SourceState("demo", Totals()), list[Any]()
        acknowledger.append(state, admission("first"), results.append)
        await until(lambda: bool(results))
        committer.flush()
        await trio.testing.wait_all_tasks_blocked()
        for at in range(MANY_REQUESTS):
            acknowledger.append(state, admission(str(at)), results.append)
        await trio.testing.wait_all_tasks_blocked()
        writer.failures = [error]
        writer.gate.release()
        await until(lambda: len(results) == MANY_REQUESTS + 1)
        assert results[1:] == [error] * MANY_REQUESTS
        assert (state.pending, committer.lost) == (1, isinstance(error, StoreFailed))


async def test_what_journal_and_group_lose_is_refused(tmp_path: Path) -> None:
    """Neither has it, so its sender has to send it again."""

    class Slow(Journal):
        gate = threading.Semaphore(1)

        def append(self, appends: Sequence[Append]) -> bool:
            assert self.gate.acquire(timeout=HANG_SECONDS)
            return super().append(appends) if appends[0].numbered.first == 1 else False

    async with committing(tmp_path, journal=Slow) as (acknowledger, committer, writer, _):
        state, results = SourceState("demo", Totals()), list[Any]()
        writer.failures = [StoreFailed("EIO")]
        acknowledger.append(state, admission("1"), results.append)
        await until(lambda: bool(results))
        acknowledger.append(state, admission("2"), results.append)
        await until(lambda: committer.lost)
        Slow.gate.release()
        await until(lambda: len(results) == 2)
        assert isinstance(results[1], StoreFailed)
        assert state.pending == 1


async def test_what_was_answered_outlives_a_failed_group(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """It is tried until it succeeds; deliveries are refused meanwhile, and their numbers are not skipped."""
    async with committing(tmp_path, journal=Journal) as (acknowledger, committer, writer, _):
        state, results = SourceState("demo", Totals()), list[Any]()
        writer.failures = [StoreFull("full")] * 3
        acknowledger.append(state, admission("1"), results.append)
        await until(lambda: bool(results))
        assert results[0].first == 1
        committer.flush()
        await until(lambda: committer.failure is not None)
        acknowledger.append(state, admission("2"), results.append)
        await until(lambda: len(results) == 2)
        assert isinstance(results[1], StoreFull)
        await committer.flushed()
        await acknowledger.settled()
        assert (committer.failure, state.totals.received, state.pending) == (None, 1, 1)
        acknowledger.append(state, admission("3"), results.append)
        await acknowledger.settled()
        assert (results[2].first, state.totals.received) == (2, 2)


async def test_what_was_answered_outlives_an_io_error(tmp_path: Path) -> None:
    """Nothing is written any more, but the journal has it: the next start puts it into the store."""
    async with committing(tmp_path, journal=Journal) as (acknowledger, committer, writer, _):
        results = list[Any]()
        writer.failures = [StoreFailed("EIO")]
        acknowledger.append(SourceState("demo", Totals()), admission("1"), results.append)
        await acknowledger.settled()
        assert results[0].first == 1
        assert committer.lost
    async with committing(tmp_path) as (_, _, writer, _):
        assert writer.totals["demo"].received == 1


async def test_a_look_up_does_not_wait_for_more(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """Whoever looks finds what was acknowledged before, without the wait for more; where nothing is, at once."""
    async with committing(tmp_path, journal=Journal) as (acknowledger, committer, _, store):
        await committer.flushed()
        results = list[Any]()
        acknowledger.append(SourceState("demo", Totals()), admission("1"), results.append)
        await until(lambda: bool(results))
        assert Reader(store).delivery(*results[0].delivery_ids()) is None
        await committer.flushed()
        assert Reader(store).delivery(*results[0].delivery_ids())


async def test_a_group_fits_into_a_queue(tmp_path: Path) -> None:
    """A thousand events on each of many connections had filled the queue at once, and were read from disk again."""
    async with committing(tmp_path) as (acknowledger, _, writer, _):
        state, results = SourceState("demo", Totals()), list[Any]()
        ids = [str(at) for at in range(BATCH_EVENTS // 2 + 1)]
        for _ in range(5):
            acknowledger.append(state, admission(*ids), results.append)
        await acknowledger.settled()
        assert [len(group.appends) for group in writer.groups] == [2, 2, 1]
        assert len(results) == 5


async def test_a_look_up_waits_for_acknowledged_only(tmp_path: Path) -> None:
    """Not for a disk that hangs; and on one that is slow not for ever."""

    class Hanging(Journal):
        gate = threading.Semaphore(0)

        def append(self, appends: Sequence[Append]) -> bool:
            assert self.gate.acquire(timeout=HANG_SECONDS)
            return False

    async with committing(tmp_path, journal=Hanging) as (acknowledger, committer, _, _):
        acknowledger.append(SourceState("demo", Totals()), admission("1"), lambda result: None)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(HANG_SECONDS):
            await committer.flushed()
        Hanging.gate.release()
        await acknowledger.settled()


async def test_a_look_up_does_not_wait_for_ever(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """On a disk that hangs, what there is says more."""
    async with committing(tmp_path, Gated, journal=Journal) as (acknowledger, committer, writer, _):
        assert isinstance(writer, Gated)
        results = list[Any]()
        acknowledger.append(SourceState("demo", Totals()), admission("1"), results.append)
        await until(lambda: bool(results))
        started = trio.current_time()
        await committer.flushed()
        assert trio.current_time() - started == pytest.approx(FLUSHED_SECONDS_MAX, abs=0.1)
        writer.gate.release()
