"""Every setting of a source: its name, default, limits and reason. Most defaults are those that `Source` has."""

from collections.abc import Mapping
from dataclasses import fields

from server.base.source import Source
from server.config.settings import GIB
from server.config.values import (
    BOOLEAN,
    CLASSES,
    EVENT_TYPE,
    ORIGINS,
    PATHS,
    PROCESSOR,
    REQUIRED,
    SIGNING_SECRETS,
    TOKENS,
    VERIFY_TOKEN,
    Kind,
    Setting,
    choice,
    count,
    number,
)
from server.intake.schemes import SCHEMES


def _source_setting(key: str, kind: Kind, why: str) -> Setting:
    """Return a setting with the default that `Source` has."""
    return Setting(next(field.default for field in fields(Source) if field.name == key), kind, why)


SOURCE_SETTINGS: Mapping[str, Setting] = {
    "type": Setting(REQUIRED, choice("webhook", "segment"), "The shape of the bodies."),
    "tokens": Setting(
        REQUIRED,
        TOKENS,
        "Bearer tokens: any one is accepted, so that they can be changed without a gap. Empty: the signature decides.",
    ),
    "signing_secrets": Setting(
        [], SIGNING_SECRETS, "For webhook only. When set, a signature is required too; any one of them is accepted."
    ),
    "signature": _source_setting("signature", choice(*SCHEMES), "How the sender signs."),
    "signature_tolerance_seconds": _source_setting(
        "signature_tolerance_seconds",
        count(1, 86400),
        "How old a signed timestamp may be, or how far ahead, in the schemes that have one.",
    ),
    "verify_token": Setting("", VERIFY_TOKEN, 'What Meta\'s console was given beside the address; for "meta" only.'),
    "event_id_from": Setting(
        [], PATHS, "Where events have their ids; the first that is there counts. Empty: as the scheme has them."
    ),
    "event_type_from": Setting([], PATHS, "The same for their types."),
    "same_body": _source_setting(
        "same_body",
        choice("allow", "duplicate"),
        "Whether a signed body that was processed before, within the dedup window, is a duplicate whatever its id.",
    ),
    "event_type_override": _source_setting("event_type_override", EVENT_TYPE, "Replaces every event's type when set."),
    "missing_event_id": _source_setting(
        "missing_event_id",
        choice("generate", "hash", "reject"),
        "An event without an id gets a generated one, gets its content's hash, or is refused.",
    ),
    "rate_limit_events_per_second": _source_setting(
        "rate_limit_events_per_second",
        number(0, 1e9, least=1e-6, zero="no limit"),
        "The rate limit, counted in events before queueing; fractions are allowed.",
    ),
    "rate_limit_burst_events": _source_setting(
        "rate_limit_burst_events", count(0, 10**9), "How many may come at once. 0: one second's worth, at least 1."
    ),
    "over_limit": _source_setting(
        "over_limit",
        choice("defer", "drop", "observe"),
        "Events over the limit are kept and released later, dropped on record, or only counted.",
    ),
    "processor": _source_setting(
        "processor",
        PROCESSOR,
        "The function that gets the events, also from a file beside this one. Empty: archive only.",
    ),
    "processor_batch_events_max": _source_setting(
        "processor_batch_events_max", count(1, 1_000_000), "Events in one call of the processor."
    ),
    "processor_timeout_seconds": _source_setting(
        "processor_timeout_seconds",
        number(0, 86400),
        "The longest that one call may take; after that its batch has failed.",
    ),
    "processor_attempts_max": _source_setting(
        "processor_attempts_max",
        count(1, 65535),
        "Failed attempts until an event is dead. 12 of them span about 38 minutes.",
    ),
    "processor_outages": Setting(
        [], CLASSES, "Exceptions that say that what is behind the processor is away, beside those that always do."
    ),
    "paused": _source_setting(
        "paused", BOOLEAN, "Events are taken and kept, and wait: none is handed on or archived until it is false again."
    ),
    "expect_every_seconds": _source_setting(
        "expect_every_seconds",
        number(0, 366 * 86400, zero="nothing is expected"),
        "Readiness warns `silent` when nothing was accepted for so long.",
    ),
    "stuck_after_seconds": _source_setting(
        "stuck_after_seconds",
        number(0, 366 * 86400, zero="never"),
        "Readiness warns `stuck` when its oldest event has waited, or its processor only failed, for longer.",
    ),
    "body_bytes_max": _source_setting(
        "body_bytes_max", count(0, GIB), "A body as received. 0: limits.body_bytes_max, which it may exceed."
    ),
    "decoded_bytes_max": _source_setting(
        "decoded_bytes_max", count(0, GIB), "A body after Content-Encoding. 0: limits.decoded_bytes_max."
    ),
    "cors_origins": Setting(
        [],
        ORIGINS,
        "For segment only: whose pages may send, by the routes of SDKs. Empty: Origin is not looked at.",
    ),
}

DEFAULT_SCHEME = SOURCE_SETTINGS["signature"].default
WEBHOOK_SETTINGS = ("signing_secrets", "event_id_from", "event_type_from")
"""Those that a source of type segment has no use for."""
