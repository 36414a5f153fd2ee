"""The engine: every source at work, changed by a reload, stopped by a drain; and the way back of dead events."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from server.base import log
from server.base.refusal import Refusal
from server.base.source import Source
from server.base.worker import Worker
from server.flow.horizon import Horizon
from server.flow.names import hidden_modules
from server.flow.processor import load
from server.flow.reasons import PendingReasons, Retried
from server.flow.requeue import DeadCommands, Done
from server.flow.runner import Function, Runner, Shared
from server.flow.source_state import SourceState
from storage.model import Span, StatusChange
from storage.read.dead import DeadQuery
from storage.read.reader import Reader
from storage.statuses import EventStatus, Totals

MERGE_POLL_SECONDS = 0.5
"""How often the dedup index is looked after: its small runs are merged, its old ones dropped."""


class Engine:
    """Made inside `trio.run`; `run` is its task."""

    def __init__(self, shared: Shared, totals: Mapping[str, Totals], lookup: Reader, looking_up: Worker) -> None:
        self._shared = shared
        self._lookup = lookup
        self._looking_up = looking_up
        self._dead_commands: dict[str, DeadCommands] = {}
        self._log = log.get("tidegate.index")
        self.reload_count = 0
        """Rises with every `configure`: what was found out about a sender holds until the next."""
        self._runners: dict[str, Runner] = {}
        self._nursery: trio.Nursery | None = None
        self._stopped = trio.Event()
        self.horizon = Horizon(shared.committer, shared.reader, shared.reading, list(totals.values()))
        for source_id, counts in totals.items():
            self._add(SourceState(source_id, counts))

    @property
    def states(self) -> list[SourceState]:
        """Every source that is configured or has ever had an event."""
        return [runner.state for runner in self._runners.values()]

    def is_source(self, source_id: str) -> bool:
        """Return whether one of `states` has this id."""
        return source_id in self._runners

    def state(self, source_id: str) -> SourceState | None:
        """Return the state of a configured source; None for one that does not exist or was removed."""
        runner = self._runners.get(source_id)
        return runner.state if runner is not None and runner.state.source is not None else None

    @property
    def busy(self) -> list[str]:
        """Sources that have events in hand, by name; may be asked by any thread."""
        consumers = [(source_id, runner.consumer) for source_id, runner in tuple(self._runners.items())]
        return sorted(source_id for source_id, consumer in consumers if consumer is not None and consumer.working)

    @property
    def paused(self) -> list[str]:
        """Sources whose events wait because they are configured so."""
        return [state.id for state in self.states if state.paused]

    def is_requeueing(self) -> bool:
        """Return whether dead events are being given back, or are on their way to the disk as pending ones."""
        return any(state.requeues_begun or state.returning for state in self.states)

    def counted(self, totals: Mapping[str, Totals]) -> None:
        """Take these as the totals of their sources; call when they are committed."""
        for source_id, found in totals.items():
            self._runners[source_id].state.totals = found

    @property
    def stuck(self) -> list[str]:
        """Sources whose old processor's call does not come back: only a restart helps."""
        return [source_id for source_id, runner in self._runners.items() if runner.stuck]

    @property
    def without_thread(self) -> list[str]:
        """Sources whose processor waits for a thread that cannot be had."""
        return [source_id for source_id, runner in self._runners.items() if runner.lacks_thread]

    def configure(self, sources: Mapping[str, Source], functions: Mapping[str, Function]) -> None:
        """Swap the sources, all at once; after `stop` nothing changes any more.

        `functions`: the loaded processors, as `load_processors` gives them.
        """
        if self._stopped.is_set():
            return
        self.reload_count += 1
        for source_id in sources:
            if source_id not in self._runners:
                self._add(SourceState(source_id, Totals()))
        for source_id, runner in self._runners.items():
            runner.configure(sources.get(source_id), functions.get(source_id))

    async def run(self) -> None:
        """Work until `stop`."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for runner in self._runners.values():
                nursery.start_soon(runner.run)
            async with trio.open_nursery() as caring:
                caring.start_soon(self._look_after_index)
                await self._stopped.wait()
                caring.cancel_scope.cancel()  # a merge in its thread is not waited for

    def stop(self) -> None:
        """Finish the calls in hand and take no more events."""
        self._stopped.set()
        for runner in self._runners.values():
            runner.stop()

    def feed_skipped(self, events: Sequence[Span]) -> None:
        """Feed events that wait before the oldest pending event that the totals of their sources name.

        Call while no outcome of them can be on its way yet. What is recorded is what they are, which lowers the number
        in the totals; then their sources are fed from there.
        """
        for span in events:
            runner = self._runners[span.source_id]
            status = EventStatus.DEFERRED if span.deferred else EventStatus.PENDING
            now_ms = self._shared.clock.now_ms()
            change = StatusChange(span.source_id, status, span.numbers, span.attempts, now_ms, 0)
            self._shared.committer.change_status(runner.state, change, runner.read_again)

    async def requeue(self, source_id: str, wanted: DeadQuery) -> Done | Refusal:
        """Give dead events back to the processor."""
        commands = self._dead_commands.get(source_id)
        return Done(0, wanted.event_ids or ()) if commands is None else await commands.requeue(wanted)

    async def discard(self, source_id: str, wanted: DeadQuery) -> Done | Refusal:
        """Discard dead events."""
        commands = self._dead_commands.get(source_id)
        return Done(0, wanted.event_ids or ()) if commands is None else await commands.discard(wanted)

    @asynccontextmanager
    async def standing_still(self, source_ids: Collection[str], *, pending: bool) -> AsyncIterator[None]:
        """Let no dead event of these sources be given back or discarded meanwhile; if `pending`, let no pending event
        of them be taken either, once the calls in hand have finished."""
        async with AsyncExitStack() as stack:
            for source_id in sorted(source_ids):
                await stack.enter_async_context(self._dead_commands[source_id].standing_still())
                if pending:
                    await stack.enter_async_context(self._runners[source_id].standing_still())
            yield

    def forget_error(self, source_id: str) -> None:
        """Say no more what the last error of a source's processor was."""
        self._runners[source_id].state.forget_error()

    async def change_status(self, change: StatusChange) -> None:
        """Have a change written that no consumer has in hand; return when it is, or nothing will be any more."""
        written = trio.Event()
        self._shared.committer.change_status(self._runners[change.source_id].state, change, written.set)
        while not written.is_set() and not self._shared.committer.lost:
            self._shared.committer.flush()
            await self._shared.committer.group_ended()
        self._shared.suspects.clear(change.numbers)

    def retry(self, source_id: str) -> Retried:
        """Let what of the source waits after a failure be tried now."""
        runner = self._runners.get(source_id)
        return Retried() if runner is None else runner.retry()

    def reasons(self, source_id: str) -> PendingReasons:
        """Return why events of the source wait."""
        runner = self._runners.get(source_id)
        return PendingReasons() if runner is None else runner.reasons()

    async def _look_after_index(self) -> None:
        index, worker = self._shared.index, self._shared.indexing
        told = ""
        await self._shared.index_ready.wait()
        while True:
            if index.is_due(self._shared.committer.store_clock.now_ms()):
                await worker.run(index.expire(await self.horizon.find()).clear)
            job = index.merge_job()
            if job is not None:
                await worker.run(job.run)
                index.install(job)
                await worker.run(job.release)
            trouble = str(index.spill_error or "")
            if trouble != told:
                told = trouble
                if trouble:
                    self._log.warning("index files cannot be written", error=trouble)
                else:
                    self._log.info("index files are written again")
            await trio.sleep(MERGE_POLL_SECONDS)

    def _add(self, state: SourceState) -> None:
        runner = Runner(state, self._shared)
        self._runners[state.id] = runner
        self._dead_commands[state.id] = DeadCommands(
            runner,
            committer=self._shared.committer,
            now_ms=self._shared.clock.now_ms,
            lookup=self._lookup,
            looking_up=self._looking_up,
        )
        if self._nursery is not None:
            self._nursery.start_soon(runner.run)


def load_processors(sources: Mapping[str, Source], directory: Path) -> dict[str, Function]:
    """Return the processor of each source that has one; say what they cannot import.

    Raises ProcessorError for the first that cannot be loaded.
    """
    specs = {source_id: source.processor for source_id, source in sources.items() if source.processor}
    for words in hidden_modules(directory) if specs else ():
        log.get("tidegate.processor").warning("hidden module", problem=words)
    return {source_id: load(spec, directory) for source_id, spec in specs.items()}
