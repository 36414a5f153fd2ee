"""A replay as the store keeps it: which events of a source are given to a processor anew, and how far that is.

Its record is written in the transactions that append what is replayed, so none is replayed twice or left out, whenever
the process dies.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from storage.codec.records import damaged, replay_key
from storage.read.query import EventQuery, Where
from storage.statuses import EventStatus

RUNNING, DONE, STOPPED = "running", "done", "stopped"


@dataclass(frozen=True, slots=True)
class Replay:
    """One replay. Times are milliseconds of the wall clock."""

    id: str
    query: EventQuery
    """What was asked for. `after` and `before` bound the numbers; `limit` counts what is replayed."""
    to: str
    """The source whose processor gets the events."""
    after: int
    """The events up to this number have been looked at."""
    started_at_ms: int
    ended_at_ms: int = 0
    state: str = RUNNING
    replayed: int = 0
    gone: int = 0
    """Events that matched and whose bodies were not there any more."""

    @property
    def left(self) -> int | None:
        """How many more may be replayed; None for any number."""
        return None if self.query.limit is None else max(0, self.query.limit - self.replayed)


def encode_replay(replay: Replay) -> bytes:
    """Return its record, as JSON."""
    query = replay.query
    return orjson.dumps(
        {
            "source": query.source_id,
            "since_ms": query.since_ms,
            "until_ms": query.until_ms,
            "statuses": [int(status) for status in query.statuses],
            "event_type": query.event_type,
            "event_id": query.event_id,
            "id_prefix": query.id_prefix,
            "provider_id": query.provider_id,
            "where": [[list(each.path), list(each.values)] for each in query.where],
            "first_after": query.after,
            "before": query.before,
            "limit": query.limit,
            "to": replay.to,
            "after": replay.after,
            "started_at_ms": replay.started_at_ms,
            "ended_at_ms": replay.ended_at_ms,
            "state": replay.state,
            "replayed": replay.replayed,
            "gone": replay.gone,
        }
    )


def decode_replay(identity: str, stored: bytes) -> Replay:
    """Return what `encode_replay` wrote. Raises StoreDamaged if it was not written by that."""
    try:
        return _decoded(identity, orjson.loads(stored))
    except (ValueError, TypeError, LookupError) as error:
        raise damaged(b"meta", replay_key(identity), f"the replay does not decode: {error}") from error


def _decoded(identity: str, found: dict[str, Any]) -> Replay:
    query = EventQuery(
        source_id=found["source"],
        since_ms=found["since_ms"],
        until_ms=found["until_ms"],
        statuses=[EventStatus(status) for status in found["statuses"]],
        event_type=found["event_type"],
        event_id=found["event_id"],
        id_prefix=found["id_prefix"],
        provider_id=found["provider_id"],
        where=[Where(path, values) for path, values in found["where"]],
        after=found["first_after"],
        before=found["before"],
        oldest_first=True,
        limit=found["limit"],
    )
    rest = ("to", "after", "started_at_ms", "ended_at_ms", "state", "replayed", "gone")
    return Replay(identity, query, **{name: found[name] for name in rest})
