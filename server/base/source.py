"""A source: one inbound setup as configured, with its secrets resolved."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

SourceType = Literal["webhook", "segment"]
MissingId = Literal["generate", "hash", "reject"]
OverLimit = Literal["defer", "drop", "observe"]
SchemeName = Literal[
    "convertmax", "standard-webhooks", "stripe", "github", "shopify", "slack", "meta", "zoom", "x", "microsoft-graph"
]

SIGNATURE_TOLERANCE_SECONDS = 300
"""As Stripe, Slack and Standard Webhooks recommend."""


class FieldPath(NamedTuple):
    """Where an id or a type is looked for: in a header, or by object keys in an item."""

    text: str
    """As configured: `body.a.b` or `header.x`."""
    header: bytes
    """In lower case; b"" if it is in the body."""
    keys: tuple[str, ...] = ()


def field_path(text: str) -> FieldPath | None:
    """Return the path that this text names, None if it names none."""
    place, _, rest = text.partition(".")
    if place == "header" and rest.isascii() and rest:
        return FieldPath(f"header.{rest.lower()}", rest.lower().encode())
    keys = tuple(rest.split("."))
    return FieldPath(text, b"", keys) if place == "body" and all(keys) else None


@dataclass(frozen=True, slots=True)
class Source:
    """One `[sources.ID]` table. Frozen: a reload replaces the object."""

    id: str
    type: SourceType
    token_digests: tuple[bytes, ...]
    """SHA-256 of each accepted bearer token."""
    signing_secrets: tuple[bytes, ...] = ()
    signing_keys: tuple[bytes, ...] = ()
    """What its scheme makes of the secrets."""
    signature: SchemeName = "convertmax"
    signature_tolerance_seconds: int = SIGNATURE_TOLERANCE_SECONDS
    verify_token: bytes = b""
    """What Meta's console was given beside the address; b"" for every other scheme."""
    event_id_from: tuple[FieldPath, ...] = ()
    """Its own paths, or else its scheme's; where both are empty, the rules of `normalise.py` are for it."""
    event_type_from: tuple[FieldPath, ...] = ()
    event_type_override: str = ""
    missing_event_id: MissingId = "generate"
    rate_limit_events_per_second: float = 0
    rate_limit_burst_events: int = 0
    over_limit: OverLimit = "defer"
    processor: str = ""
    processor_batch_events_max: int = 500
    processor_timeout_seconds: float = 30
    processor_attempts_max: int = 12
    processor_outages: tuple[str, ...] = ()
    paused: bool = False
    expect_every_seconds: float = 0
    body_bytes_max: int = 0
    decoded_bytes_max: int = 0
    cors_origins: tuple[bytes, ...] = ()
    """As browsers write them, or `*`."""

    @property
    def has_paths(self) -> bool:
        """Whether ids or types are looked for by paths."""
        return bool(self.event_id_from or self.event_type_from)

    @property
    def archive_only(self) -> bool:
        """Whether nobody is handed its events: they are deduplicated and archived, for which no body is read again."""
        return not self.processor

    @property
    def keeps_to_rate(self) -> bool:
        """Whether its rate limit bounds what it brings in the long run."""
        return self.rate_limit_events_per_second > 0 and self.over_limit != "observe"

    def __repr__(self) -> str:
        return f"Source({self.id!r}, {self.type!r})"  # no secret, wherever it is printed
