"""Replays as the commands and the admin side show them, and what they take for one."""

from typing import Any

from server.intake.events import rfc3339
from server.observe.event_query import BadQuery, path_text, query_of
from server.observe.receipts import Value
from storage.read.query import EventQuery
from storage.read.replays import Replay
from storage.statuses import PENDING_STATUSES, EventStatus, outcome_of


def replay_query(now_ms: int, **asked: Any) -> EventQuery:
    """Return the query that these texts describe; without an outcome it is about processed events. Raises BadQuery."""
    query = query_of(now_ms, **({"outcome": EventStatus.PROCESSED.label} | asked))
    if set(query.statuses) & {*PENDING_STATUSES}:
        raise BadQuery("pending events have their turn anyway: name outcomes")
    return query


def describe_replay(replay: Replay) -> Value:
    """Return one replay: what is asked for, and how far it is. Of what is looked for in payloads the places alone."""
    query = replay.query
    return {
        "replay": replay.id,
        "source": query.source_id,
        "to": replay.to,
        "state": replay.state,
        "replayed": replay.replayed,
        "gone": replay.gone,
        "limit": query.limit,
        "outcome": list(dict.fromkeys(outcome_of(status).label for status in query.statuses)),
        "type": query.event_type,
        "event_id": query.event_id,
        "id": query.id_prefix,
        "provider_id": query.provider_id,
        "where": [path_text(each.path) for each in query.where],
        "since": None if query.since_ms is None else rfc3339(query.since_ms),
        "until": None if query.until_ms is None else rfc3339(query.until_ms),
        "before": query.before,
        "after": replay.after,
        "started_at": rfc3339(replay.started_at_ms),
        "ended_at": rfc3339(replay.ended_at_ms) if replay.ended_at_ms else None,
    }
