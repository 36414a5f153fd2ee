"""Sample bodies for a source: events as its senders would write them, with random ids."""

import random
import uuid
from datetime import UTC, datetime

import orjson

from server.base.source import Source

PLANS = ("free", "team", "business")
SAMPLE_TYPE = "order.created"
PAGES = ("/", "/pricing", "/docs", "/blog/tides")


def sample(source: Source, events: int, *, batched: bool) -> tuple[bytes, list[str]]:
    """Return a body of this many events of the source's type, and their ids. One event is a batch only if `batched`."""
    make = _track if source.type == "segment" else _order
    items = [make() for _ in range(events)]
    key = "messageId" if source.type == "segment" else "inbound_event_id"
    ids = [str(item[key]) for item in items]
    if not batched:
        return orjson.dumps(items[0]), ids
    if source.type == "segment":
        return orjson.dumps({"batch": items, "sentAt": _now(), "context": {"library": {"name": "tidegate send"}}}), ids
    return orjson.dumps(items), ids


def _order() -> dict[str, object]:
    return {
        "inbound_event_id": str(uuid.uuid4()),
        "event_type": SAMPLE_TYPE,
        "payload": {
            "order": random.randrange(10**6, 10**7),  # noqa: S311 - nothing depends on it
            "total_cents": random.randrange(100, 100_000),  # noqa: S311
            "currency": "EUR",
            "created_at": _now(),
        },
    }


def _track() -> dict[str, object]:
    return {
        "type": "track",
        "messageId": str(uuid.uuid4()),
        "userId": f"user-{random.randrange(10**6)}",  # noqa: S311
        "event": "Page Viewed",
        "properties": {"path": random.choice(PAGES), "plan": random.choice(PLANS)},  # noqa: S311
        "timestamp": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
