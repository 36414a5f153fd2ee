"""Sample bodies for a source: events as its senders would write them, with random ids."""

import random
import uuid
from datetime import UTC, datetime

import orjson

from server.base.source import Source
from server.intake.schemes import secret_of

PLANS = ("free", "team", "business")
SAMPLE_TYPE = "order.created"
PAGES = ("/", "/pricing", "/docs", "/blog/tides")


def sample(source: Source, events: int, *, batched: bool) -> tuple[bytes, list[str]]:
    """Return a body of this many events of the source's type, and their ids. One event is a batch only if `batched`, or
    if its sender sends nothing else.
    """
    secret = secret_of(source)
    make, key = _track, "messageId"
    if source.type == "webhook":
        make, key = (_order, "inbound_event_id") if secret is None else (_notification, "id")
    items = [make() for _ in range(events)]
    ids = [str(item[key]) for item in items]
    if secret is not None:
        return orjson.dumps({secret.list_name: items}), ids
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


def _notification() -> dict[str, object]:
    """Return one of Microsoft Graph's, without its clientState."""
    message = str(uuid.uuid4())
    return {
        "id": str(uuid.uuid4()),
        "subscriptionId": str(uuid.uuid4()),
        "subscriptionExpirationDateTime": _now(),
        "changeType": "created",
        "resource": f"users/{uuid.uuid4()}/messages/{message}",
        "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "id": message},
        "tenantId": str(uuid.uuid4()),
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
