"""What commands over the admin side take and answer, as JSON Schemas."""

from collections.abc import Mapping

from server.observe.json_schema import COUNT, FLAG, NUMBER, TEXT, TIME, Schema, closed, list_of, one_of, or_null

_REPLAY = closed(
    {
        "replay": TEXT,
        "source": TEXT,
        "to": TEXT,
        "state": TEXT,
        "replayed": COUNT,
        "gone": COUNT,
        "limit": or_null(COUNT),
        "outcome": list_of(TEXT),
        "type": or_null(TEXT),
        "event_id": or_null(TEXT),
        "id": or_null(TEXT),
        "provider_id": or_null(TEXT),
        "where": list_of(TEXT),
        "since": or_null(TIME),
        "until": or_null(TIME),
        "before": or_null(COUNT),
        "after": or_null(COUNT),
        "started_at": TIME,
        "ended_at": or_null(TIME),
    }
)

COMMAND_SCHEMAS: Mapping[str, Schema] = {
    "DeadCommand": {
        "anyOf": [
            closed({"source": TEXT, "event_ids": list_of(TEXT)}),
            closed({"source": TEXT, "all": one_of(True)}, {"since": TEXT, "error": TEXT, "limit": COUNT}),
        ]
    },
    "Requeued": closed({"requeued": COUNT, "unknown": list_of(TEXT)}),
    "Discarded": closed({"discarded": COUNT, "unknown": list_of(TEXT)}),
    "ForgetCommand": closed({"source": TEXT, "event_ids": list_of(TEXT)}, {"pending": FLAG, "wait": FLAG}),
    "Forgotten": closed(
        {
            "forgotten": COUNT,
            "events": COUNT,
            "pending": list_of(TEXT),
            "unknown": list_of(TEXT),
            "overwritten": FLAG,
        }
    ),
    "SourceCommand": closed({"source": TEXT}),
    "Retried": closed({"retried": COUNT, "source_waited": FLAG}),
    "ReplayCommand": {
        "anyOf": [
            closed({"stop": TEXT}),
            closed(
                {"source": TEXT},
                dict.fromkeys(("to", "since", "until", "outcome", "type", "event_id", "id", "provider_id"), TEXT)
                | {"where": list_of(TEXT), "limit": COUNT, "dry_run": FLAG},
            ),
        ]
    },
    "Replay": {"anyOf": [_REPLAY, closed({"dry_run": one_of(True), "events": COUNT, "gone": COUNT})]},
    "Replays": closed({"replays": list_of(_REPLAY)}),
    "TrustClockCommand": closed({"dry_run": FLAG}),
    "TrustedClock": closed(
        {
            "dry_run": FLAG,
            "withheld_seconds": NUMBER,
            "ids_expiring": COUNT,
            "bodies_expiring": COUNT,
            "receipts_expiring": COUNT,
        }
    ),
}
