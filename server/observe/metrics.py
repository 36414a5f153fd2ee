"""Metrics: plain numbers that others count, exported in Prometheus' text format when somebody asks.

Each is counted where it happens: answers by `Requests`, events by the table in `storage/statuses.py`, what a source
does in its `SourceState`, commits in `flow/committer.py`. What is to be known of an admitted request belongs into
`AdmittedRequest` of `http/admitted.py`, and into `Gate._submit_plain` for those that came together. To add one,
count it there, give `Metrics` its owner in `runtime/app.py`, copy it into `Numbers`, and export it below.

The numbers are copied on the trio thread, all at one moment; the text is made in the look-ups' thread, since it takes
about 16 ms per 1000 series.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric

from server import __version__
from server.base.clock import Clock
from server.base.histogram import SECONDS, Histogram
from server.base.refusal import SDK_LATER, STATUS
from server.base.worker import Worker
from server.flow.acknowledger import Acknowledger
from server.flow.committer import Committer
from server.flow.engine import Engine
from server.flow.source_state import SourceState
from server.observe.families import Buckets, Families, histogram, in_buckets
from server.observe.progress import SourceProgress
from server.observe.refusals import Refusals
from server.observe.watch import Watch
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.statuses import EXPORTED, OUTCOMES, RULES, Totals

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


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


@dataclass(frozen=True, slots=True)
class SourceNumbers:
    """The numbers of one source at one moment."""

    id: str
    totals: Totals
    rejected: int
    over_limit: int
    retried_requests: int
    processor_failures: int
    paused: bool | None
    """None if it is not configured."""
    processor_seconds: Buckets
    refused: Mapping[str, int]
    accepted_ms: int | None
    silent: bool | None
    """None if nothing is expected of it."""
    overloaded: bool | None
    stuck: bool | None
    """These two are None if it is not configured; the second too if it is not asked for."""
    oldest: tuple[int, int]
    """Number and received_at_ms of the oldest pending event; the time is 0 if it has to be read."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """All numbers at one moment."""

    now_ms: int
    requests: dict[tuple[int, str], int]
    request_seconds: Buckets
    sources: Sequence[SourceNumbers]
    journal_seconds: Buckets
    commit_seconds: Buckets
    commit_events: Buckets
    store_used_bytes: int
    store_map_bytes: int
    log_lines_dropped: int
    refusals_lost: int
    is_ready: bool
    reload_succeeded: bool


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
        clock: Clock,
        refusals: Refusals,
        watch: Watch,
        progress: SourceProgress,
        is_ready: Callable[[], bool],
        reload_succeeded: Callable[[], bool],
        log_lines_dropped: Callable[[], int],
        full_at_seconds: Callable[[], float | None],
    ) -> None:
        """`full_at_seconds`: see `Capacity`; it is called where `reader` is."""
        self._requests = requests
        self._engine = engine
        self._acknowledger = acknowledger
        self._committer = committer
        self._store = store
        self._reader = reader
        self._worker = worker
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
        return await self._worker.run(self._text, self._numbers())

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

    def _text(self, numbers: Numbers) -> bytes:
        ages = {source.id: self._oldest_seconds(source, numbers.now_ms) for source in numbers.sources}
        full_at = _full_at(self._full_at_seconds())
        return generate_latest(
            Families([*_server(numbers), full_at, *_sources(numbers, ages), *self._process.collect()])
        )

    def _oldest_seconds(self, source: SourceNumbers, now_ms: int) -> float | None:
        """Return the age of its oldest pending event; None if a bounded read does not tell."""
        if not source.totals.pending:
            return 0.0
        number, received_at_ms = source.oldest
        at_ms = received_at_ms or self._reader.received_at(source.id, number)
        return None if at_ms is None else max(0, now_ms - at_ms) / 1000


def _server(numbers: Numbers) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "tidegate_requests", "Answers given, by status and by the code in their body.", labels=["status", "code"]
    )
    for (status, code), count in sorted(numbers.requests.items()):
        requests.add_metric([str(status), code], count)
    yield requests
    yield histogram(
        "tidegate_request_seconds", "From a request's head to its answer, in seconds.", numbers.request_seconds
    )
    yield histogram(
        "tidegate_journal_seconds",
        "Duration of one append to the journal, its fsync included, in seconds.",
        numbers.journal_seconds,
    )
    yield histogram(
        "tidegate_commit_seconds",
        "Duration of one transaction of the store, its fsync included, in seconds.",
        numbers.commit_seconds,
    )
    yield histogram("tidegate_commit_events", "New events in one transaction of the store.", numbers.commit_events)
    yield GaugeMetricFamily(
        "tidegate_store_used_bytes",
        "Bytes of the store that hold something; pages that can be used again do not count.",
        numbers.store_used_bytes,
    )
    yield GaugeMetricFamily(
        "tidegate_store_map_bytes", "Ceiling of the store: storage.map_size_bytes.", numbers.store_map_bytes
    )
    yield CounterMetricFamily(
        "tidegate_log_lines_dropped",
        "Lines on stdout and stderr that found no reader or no room, since the start.",
        numbers.log_lines_dropped,
    )
    yield CounterMetricFamily(
        "tidegate_refusal_records_lost",
        "Refused requests that could not be recorded for want of room or by the disk, since the start.",
        numbers.refusals_lost,
    )
    yield GaugeMetricFamily("tidegate_ready", "1 if deliveries can be taken, 0 if not.", numbers.is_ready)
    yield GaugeMetricFamily(
        "tidegate_config_last_reload_successful",
        "1 if the last reload was taken over, or there was none since the start; 0 if it was refused.",
        numbers.reload_succeeded,
    )
    build = GaugeMetricFamily("tidegate_build_info", "Always 1; the versions are labels.", labels=["version", "python"])
    build.add_metric([__version__, platform.python_version()], 1)
    yield build


def _full_at(seconds: float | None) -> Metric:
    """Without a sample while it is not known."""
    family = GaugeMetricFamily(
        "tidegate_store_full_timestamp_seconds",
        "When the store will be full at the rate of the last day, since the epoch; +Inf if never.",
    )
    if seconds is not None:
        family.add_metric([], seconds)
    return family


def _sources(numbers: Numbers, ages: dict[str, float | None]) -> Iterator[Metric]:
    sources = numbers.sources
    for name, words in EXPORTED.items():
        values = [getattr(each.totals, name) for each in sources]
        yield _counter(f"tidegate_events_{name}", f"{words}, kept in the store.", sources, values)
    rejected = [each.rejected for each in sources]
    yield _counter("tidegate_events_rejected", "Items that were not events, since the start.", sources, rejected)
    over_limit = [each.over_limit for each in sources]
    yield _counter("tidegate_events_over_limit", "Events over their rate limit, since the start.", sources, over_limit)
    retried = [each.retried_requests for each in sources]
    yield _counter("tidegate_retried_requests", "SDKs' requests with X-Retry-Count, since the start.", sources, retried)
    yield _outcomes(sources)
    yield _gauge("tidegate_events_pending", "Events without an outcome.", {s.id: s.totals.pending for s in sources})
    yield _gauge(
        "tidegate_events_dead",
        "Dead events now: neither given back nor discarded, and their bodies are there.",
        {each.id: each.totals.dead_now for each in sources},
    )
    yield _gauge(
        "tidegate_oldest_pending_seconds",
        "Age of the oldest event without an outcome, in seconds; 0 if there is none.",
        {source_id: age for source_id, age in ages.items() if age is not None},
    )
    yield _gauge(
        "tidegate_source_paused",
        "1 if the events of a configured source wait because it is paused, 0 if not.",
        {each.id: each.paused for each in sources if each.paused is not None},
    )
    yield from _heard(sources)
    seconds = HistogramMetricFamily(
        "tidegate_processor_seconds", "Duration of one call of a processor, in seconds.", labels=["source"]
    )
    for each in sources:
        seconds.add_metric([each.id], each.processor_seconds.buckets, each.processor_seconds.sum)
    yield seconds
    failures = [each.processor_failures for each in sources]
    yield _counter(
        "tidegate_processor_failures",
        "Failed calls of a processor, and failed entries of calls, since the start.",
        sources,
        failures,
    )


def _heard(sources: Sequence[SourceNumbers]) -> Iterator[Metric]:
    refused = CounterMetricFamily(
        "tidegate_source_refused", "Refused requests that named the source, since the start.", labels=["source", "code"]
    )
    for each in sources:
        for code, count in each.refused.items():
            refused.add_metric([each.id, code], count)
    yield refused
    yield _gauge(
        "tidegate_source_last_accepted_timestamp_seconds",
        "When a request of the source was last accepted since the start, to the second, since the epoch.",
        {each.id: each.accepted_ms / 1000 for each in sources if each.accepted_ms is not None},
    )
    yield _gauge(
        "tidegate_source_silent",
        "1 if nothing of the source was accepted for its expect_every_seconds, 0 if something was.",
        {each.id: each.silent for each in sources if each.silent is not None},
    )
    yield _gauge(
        "tidegate_source_overloaded",
        "1 if a configured source is at the limit of its backlog, or was refused for want of room within a minute.",
        {each.id: each.overloaded for each in sources if each.overloaded is not None},
    )
    yield _gauge(
        "tidegate_source_stuck",
        "1 if its oldest event has waited, or its processor only failed, for its stuck_after_seconds, 0 if not.",
        {each.id: each.stuck for each in sources if each.stuck is not None},
    )


def _outcomes(sources: Sequence[SourceNumbers]) -> Metric:
    family = CounterMetricFamily(
        "tidegate_events", "Events by what became of them, kept in the store.", labels=["source", "outcome"]
    )
    for each in sources:
        for outcome in OUTCOMES:
            family.add_metric([each.id, outcome.label], getattr(each.totals, RULES[outcome].counted))
    return family


def _counter(name: str, words: str, sources: Sequence[SourceNumbers], values: Sequence[int]) -> Metric:
    family = CounterMetricFamily(name, words, labels=["source"])
    for each, value in zip(sources, values, strict=True):
        family.add_metric([each.id], value)
    return family


def _gauge(name: str, words: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=["source"])
    for source_id, value in values.items():
        family.add_metric([source_id], value)
    return family
