"""Metrics: plain numbers that others count, exported in Prometheus' text format when somebody asks.

Each is counted where it happens: answers by `Requests`, events by the table in `storage/statuses.py`, what a source
does in its `SourceState`, commits in `flow/committer.py`. What is to be known of an admitted request belongs into
`AdmittedRequest` of `http/admitted.py`, and into `Gate._submit_plain` for those that came together. To add one,
count it there, give `Metrics` its owner in `runtime/app.py`, copy it into `Numbers`, and export it in `exposition.py`.

The numbers are copied on the trio thread, all at one moment; the text is made in a thread of its own, since it takes
about 10 ms per 1000 series, and in steps, each begun while no delivery waits for its answer.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric

from server.base.aside import give_way
from server.base.clock import Clock
from server.base.histogram import SECONDS, Histogram
from server.base.pace import Pace
from server.base.refusal import SDK_LATER, STATUS
from server.base.worker import Worker
from server.flow.acknowledger import Acknowledger
from server.flow.committer import Committer
from server.flow.engine import Engine
from server.flow.source_state import SourceState
from server.observe.exposition import Numbers, SourceNumbers, server_families, source_families
from server.observe.families import in_buckets, text_of
from server.observe.progress import SourceProgress
from server.observe.refusals import Refusals
from server.observe.watch import Watch
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

Ages = dict[str, float | None]
"""By source, in seconds; None where it is not known."""

TEXT_STEP_SECONDS = 0.003
"""The texts of so many families are made at once that it takes so long: those of a few sources."""
TEXT_IDLE_SECONDS_MAX = 0.0125
"""A scrape has some forty such steps at most, so deliveries delay it by half a second."""

OF_THE_ADMIN_SIDE = ("forbidden", "expired")
"""The codes that no answer of the public side has."""


class Requests:
    """Counts the answers of the public side. Each kind is there at 0 from the start, so that `rate` sees the first."""

    def __init__(self) -> None:
        kinds = [(status, code) for code, status in STATUS.items() if code not in OF_THE_ADMIN_SIDE]
        kinds += [(429, code) for code in SDK_LATER]
        self.counts = Counter(dict.fromkeys([(200, ""), (204, ""), (503, ""), *kinds], 0))  # health has no code
        self.seconds = Histogram(SECONDS)

    def observe(self, status: int, code: str, seconds: float) -> None:
        """Count an answer. `code` is "" for a 200."""
        self.counts[status, code] += 1
        self.seconds.observe(seconds)

    def accepted(self, count: int, seconds: float) -> None:
        """Count so many deliveries that were answered with 200 at once."""
        self.counts[200, ""] += count
        self.seconds.observe(seconds, count)


class Metrics:
    """Everything that `/metrics` shows. Made inside `trio.run`."""

    def __init__(
        self,
        *,
        requests: Requests,
        engine: Engine,
        acknowledger: Acknowledger,
        committer: Committer,
        store: Store,
        reader: Reader,
        worker: Worker,
        idle: Callable[[], Awaitable[None]],
        clock: Clock,
        refusals: Refusals,
        watch: Watch,
        progress: SourceProgress,
        is_ready: Callable[[], bool],
        reload_succeeded: Callable[[], bool],
        log_lines_dropped: Callable[[], int],
        full_at_seconds: Callable[[], float | None],
    ) -> None:
        """`full_at_seconds`: see `Capacity`. `idle`: see `Pace`."""
        self._requests = requests
        self._engine = engine
        self._acknowledger = acknowledger
        self._committer = committer
        self._store = store
        self._reader = reader
        self._worker = worker
        self._pace = Pace(Worker("metrics", aside=True), idle, idle_seconds_max=TEXT_IDLE_SECONDS_MAX)
        self._clock = clock
        self._refusals = refusals
        self._watch = watch
        self._progress = progress
        self._is_ready = is_ready
        self._reload_succeeded = reload_succeeded
        self._log_lines_dropped = log_lines_dropped
        self._full_at_seconds = full_at_seconds
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)

    async def render(self) -> bytes:
        """Return the text, of CONTENT_TYPE. Raises StoreError if the store cannot be read."""
        numbers = self._numbers()
        ages = await self._oldest_seconds(numbers)
        families = chain(server_families(numbers), source_families(numbers, ages), self._process.collect())
        texts: list[bytes] = []
        while not await self._pace.step(_write_some, families, texts):
            pass  # each step writes a few more
        return b"".join(texts)

    def _numbers(self) -> Numbers:
        return Numbers(
            now_ms=self._clock.now_ms(),
            requests=dict(self._requests.counts),
            request_seconds=in_buckets(self._requests.seconds),
            sources=[self._source(state) for state in self._engine.states],
            journal_seconds=in_buckets(self._acknowledger.journal_seconds),
            commit_seconds=in_buckets(self._committer.commit_seconds),
            commit_events=in_buckets(self._committer.commit_events),
            store_used_bytes=self._committer.room.used_bytes,
            store_map_bytes=self._store.map_size_bytes,
            log_lines_dropped=self._log_lines_dropped(),
            refusals_lost=self._refusals.lost,
            is_ready=self._is_ready(),
            reload_succeeded=self._reload_succeeded(),
            full_at_seconds=self._full_at_seconds(),
        )

    def _source(self, state: SourceState) -> SourceNumbers:
        counts = state.counts
        return SourceNumbers(
            id=state.id,
            totals=state.totals,
            rejected=counts.rejected,
            over_limit=counts.over_limit,
            retried_requests=counts.retried_requests,
            processor_failures=counts.processor_failures,
            paused=None if state.source is None else state.paused,
            refused=self._refusals.counts(state.id),
            accepted_ms=self._watch.accepted_ms(state.id),
            silent=self._watch.is_silent(state),
            overloaded=self._progress.is_overloaded(state),
            stuck=self._progress.is_stuck(state),
            processor_seconds=in_buckets(state.processor_seconds),
            oldest=state.oldest_pending() or (state.totals.oldest, 0),
        )

    async def _oldest_seconds(self, numbers: Numbers) -> Ages:
        """Return the age of the oldest pending event of each source; None if a bounded read does not tell."""
        waiting = {each.id: each.oldest for each in numbers.sources if each.totals.pending}
        received_ms: dict[str, int | None] = {source_id: at_ms for source_id, (_, at_ms) in waiting.items()}
        unread = [(source_id, number) for source_id, (number, at_ms) in waiting.items() if not at_ms]
        if unread:
            received_ms |= await self._worker.run(self._read_times, unread)
        ages: Ages = {each.id: 0.0 for each in numbers.sources}
        for source_id, at_ms in received_ms.items():
            ages[source_id] = None if at_ms is None else max(0, numbers.now_ms - at_ms) / 1000
        return ages

    def _read_times(self, events: Sequence[tuple[str, int]]) -> dict[str, int | None]:
        return {source_id: self._reader.received_at(source_id, number) for source_id, number in events}


def _write_some(families: Iterator[Metric], texts: list[bytes]) -> bool:
    """In a worker: append the texts of the next few families, which are made in this moment; return whether that was
    all."""
    ends_at = time.monotonic() + TEXT_STEP_SECONDS
    for family in families:
        give_way()
        texts.append(text_of(family))
        if time.monotonic() >= ends_at:
            return False
    return True
