"""All numbers at one moment, and their names, words and labels in Prometheus' text format."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from server import __version__
from server.observe.families import Buckets, histogram
from storage.statuses import EXPORTED, OUTCOMES, RULES, Totals


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
    full_at_seconds: float | None
    """See `Capacity`."""


def server_families(numbers: Numbers) -> Iterator[Metric]:
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
    full_at = GaugeMetricFamily(
        "tidegate_store_full_timestamp_seconds",
        "When the store will be full at the rate of the last day, since the epoch; +Inf if never.",
    )
    if numbers.full_at_seconds is not None:
        full_at.add_metric([], numbers.full_at_seconds)
    yield full_at
    build = GaugeMetricFamily("tidegate_build_info", "Always 1; the versions are labels.", labels=["version", "python"])
    build.add_metric([__version__, platform.python_version()], 1)
    yield build


def source_families(numbers: Numbers, ages: dict[str, float | None]) -> Iterator[Metric]:
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
