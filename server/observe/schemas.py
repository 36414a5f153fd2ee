"""The JSON that the server answers, as JSON Schemas: `/openapi.json` has them by these names.

Objects are closed: a key that an answer has and its schema lacks fails the test that asks a running server. What has a
table is read from it: statuses, counters, settings.
"""

from collections.abc import Mapping
from dataclasses import fields

from server.base.source import Source
from server.flow.source_state import SinceStart
from server.observe.command_schemas import COMMAND_SCHEMAS
from server.observe.json_schema import (
    ANYTHING,
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    TEXTS,
    TIME,
    Schema,
    closed,
    list_of,
    one_of,
    or_null,
    reference,
)
from server.observe.sources import SHOWN_SETTINGS
from storage.history import DIED, DISCARDED, REQUEUED
from storage.statuses import COUNTERS, GAUGES, OUTCOMES, EventStatus, outcome_of

_SOURCE_TYPE = one_of("webhook", "segment")

_OF_RECEIPT = {"inbound_event_id": TEXT, "event_type": TEXT, "attempts": COUNT, "batch_index": COUNT}
"""What a receipt and an item of a delivery both say of an event."""
_OF_PENDING = {
    "pending": one_of(True),
    "number": COUNT,
    "deferred": FLAG,
    "reason": one_of("queued", "deferred", "paused", "retrying", "outage"),
}
_WAITING = {"error": TEXT, "next_attempt_at": TIME}
"""What is known of a pending event after a failure."""
_HISTORY = {
    "history": list_of(
        closed({"change": one_of(DIED, REQUEUED, DISCARDED), "at": TIME}, {"attempts": COUNT, "error": TEXT})
    )
}
"""What was done about a death."""
_WHERE = {"source_config_id": TEXT, "received_at": TIME, "delivery": TEXT}
_LEFT = {"archive": one_of("expired", "forgotten"), "archive_expired_at": TIME, "forgotten_at": TIME}

_REPLAYED = {"replay_of": COUNT}
"""Of an event that is another one once more."""

_FATES = [
    (
        {"outcome": one_of(outcome.label), "finished_at": TIME},
        {EventStatus.DEAD: {"error": or_null(TEXT)}, EventStatus.DUPLICATE: {"duplicate_of": or_null(TEXT)}}.get(
            outcome, {}
        ),
        _HISTORY | _REPLAYED | ({"discarded_at": TIME} if outcome is EventStatus.DEAD else {}),
    )
    for outcome in OUTCOMES
]
"""What the receipt of each outcome has: the same of all, its own, and what may be there."""

_MESSAGE = {"code": TEXT, "message": TEXT}

_WARNED = list_of(closed({"warning": TEXT, "message": TEXT}))
_FORECAST = closed(
    {
        "events_per_second": NUMBER,
        "bytes_per_day": COUNT,
        "steady_bytes": or_null(COUNT),
        "days_left": or_null(NUMBER),
        "full_at": or_null(TIME),
    },
    {"over_seconds": COUNT},
)
_CAPACITY = {
    "anyOf": [
        closed({"error": TEXT}),
        closed(
            {
                "bytes_left": {"type": "integer"},
                "retention": FLAG,
                "bytes_per_event": or_null(NUMBER),
                "measured": or_null(_FORECAST),
                "configured": or_null(_FORECAST),
            }
        ),
    ]
}
_DEFAULTS = {each.name: each.default for each in fields(Source)}
_SOURCE = closed(
    {
        "id": TEXT,
        "configured": FLAG,
        "paused": FLAG,
        "pending": COUNT,
        "deferred": COUNT,
        "dead": COUNT,
        "behind": FLAG,
        "totals": closed({name: COUNT for name in COUNTERS if name not in GAUGES}),
        "since_start": closed(
            {each.name: COUNT for each in fields(SinceStart)}
            | {"last_error": or_null(TEXT), "last_error_at": or_null(TIME)}
        ),
    },
    {
        "type": _SOURCE_TYPE,
        "processor": or_null(TEXT),
        "signed": FLAG,
        "limits": closed({name: TEXT if isinstance(_DEFAULTS[name], str) else NUMBER for name in SHOWN_SETTINGS}),
    },
)

_LISTED = closed(
    {
        **_OF_RECEIPT,
        **_WHERE,
        "number": COUNT,
        "provider_event_id": or_null(TEXT),
        "outcome": one_of(*dict.fromkeys(outcome_of(status).label for status in EventStatus)),
        "finished_at": or_null(TIME),
    },
    {
        "duplicate_of": or_null(TEXT),
        "error": or_null(TEXT),
        "discarded_at": TIME,
        "payload": ANYTHING,
        **_REPLAYED,
        **_LEFT,
    },
)

SCHEMAS: Mapping[str, Schema] = {
    "EventPage": closed(
        {
            "events": list_of(_LISTED),
            "next": or_null({"anyOf": [closed({"after": COUNT}), closed({"before": COUNT})]}),
            "looked_at": COUNT,
        }
    ),
    "Accepted": closed(
        {
            "status": one_of("accepted"),
            "accepted": COUNT,
            "deferred": COUNT,
            "dropped": COUNT,
            "rejected": list_of(closed({"index": COUNT, **_MESSAGE})),
            "delivery": TEXT,
        },
        {"success": one_of(True)},
    ),
    "Handshake": {"type": "object", "additionalProperties": TEXT, "not": {"required": ["status"]}},
    "Liveness": closed({"status": one_of("live", "failed")}),
    "Readiness": closed(
        {
            "status": one_of("ready", "not ready"),
            "reasons": list_of(closed({"reason": TEXT, "message": TEXT})),
            "warnings": _WARNED,
        }
    ),
    "Routes": list_of(TEXT),
    "Sources": closed({"sources": list_of(_SOURCE), "capacity": _CAPACITY}),
    "Receipt": {
        "anyOf": [
            closed({**_OF_PENDING, **_OF_RECEIPT, **_WHERE}, {**_WAITING, **_HISTORY, **_REPLAYED}),
            *(closed({**same, **own, **_OF_RECEIPT, **_WHERE}, {**_LEFT, **more}) for same, own, more in _FATES),
        ]
    },
    "Receipts": {"anyOf": [reference("Receipt"), list_of(reference("Receipt"))]},
    "Event": closed(
        {
            "inbound_event_id": TEXT,
            "source_config_id": TEXT,
            "source_type": _SOURCE_TYPE,
            "provider_event_id": or_null(TEXT),
            "event_type": TEXT,
            "received_at": TIME,
            "payload": ANYTHING,
            "headers": TEXTS,
            "meta": closed(
                {
                    "number": COUNT,
                    "id_from": TEXT,
                    "batch_index": COUNT,
                    "batch_size": COUNT,
                    "delivery": TEXT,
                    "remote_addr": TEXT,
                },
                {"sent_at": ANYTHING, "unsigned": list_of(TEXT), "replay": COUNT},
            ),
        },
        {"result": ANYTHING},
    ),
    "Delivery": closed(
        {
            "delivery": TEXT,
            "source_config_id": TEXT,
            "source_type": _SOURCE_TYPE,
            "received_at": TIME,
            "remote_addr": TEXT,
            "headers": TEXTS,
            "batch_size": COUNT,
            "items": list_of(
                {
                    "anyOf": [
                        closed({"batch_index": COUNT, "rejected": one_of(True), **_MESSAGE}),
                        closed({**_OF_PENDING, **_OF_RECEIPT}, {**_WAITING, **_HISTORY, **_REPLAYED}),
                        *(closed({**same, **own, **_OF_RECEIPT}, more) for same, own, more in _FATES),
                    ]
                }
            ),
        },
        _LEFT,
    ),
    "RefusedRequests": closed(
        {
            "refusals": list_of(
                closed(
                    {
                        "source_config_id": TEXT,
                        "refused_at": TIME,
                        "status": COUNT,
                        "code": TEXT,
                        "why": TEXT,
                        "sender": one_of("known", "stranger"),
                        "remote_addr": TEXT,
                        "method": TEXT,
                        "path": TEXT,
                        "headers": TEXTS,
                        "suppressed": COUNT,
                    },
                    {"body": TEXT, "body_base64": TEXT, "body_bytes": COUNT},
                )
            )
        }
    ),
    "DeadKinds": closed(
        {
            "kinds": list_of(
                closed(
                    {
                        "source_config_id": TEXT,
                        "kind": TEXT,
                        "events": COUNT,
                        "first_died_at": TIME,
                        "last_died_at": TIME,
                    }
                )
            )
        }
    ),
    **COMMAND_SCHEMAS,
}
