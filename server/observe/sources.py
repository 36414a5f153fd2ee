"""What is known of every source at this moment, as JSON-able values. No secret is among them."""

from collections.abc import Iterable
from dataclasses import asdict

from server.base.source import Source
from server.flow.source_state import SourceState
from server.intake.events import rfc3339
from storage.statuses import COUNTERS, GAUGES

SHOWN_SETTINGS = (
    "rate_limit_events_per_second",
    "rate_limit_burst_events",
    "over_limit",
    "processor_batch_events_max",
    "processor_timeout_seconds",
    "processor_attempts_max",
)


def describe_sources(states: Iterable[SourceState]) -> list[dict[str, object]]:
    """Return one entry a source, by id. A source that was removed and has events has no type, limits and processor."""
    return [_describe(state) for state in sorted(states, key=lambda state: state.id)]


def _describe(state: SourceState) -> dict[str, object]:
    totals = asdict(state.totals)
    return {
        "id": state.id,
        "configured": state.source is not None,
        **(_settings(state.source) if state.source is not None else {}),
        "paused": state.paused,
        "pending": totals["pending"],
        "deferred": totals["deferred_now"],
        "dead": totals["dead_now"],
        "behind": state.queue is not None and state.queue.behind,
        "totals": {name: totals[name] for name in COUNTERS if name not in GAUGES},
        "since_start": {
            **asdict(state.counts),
            "last_error": state.last_error,
            "last_error_at": rfc3339(state.last_error_at_ms) if state.last_error_at_ms is not None else None,
        },
    }


def _settings(source: Source) -> dict[str, object]:
    return {
        "type": source.type,
        "processor": source.processor or None,
        "signed": bool(source.signing_secrets),
        "limits": {name: getattr(source, name) for name in SHOWN_SETTINGS},
    }
