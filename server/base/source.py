"""A source: one inbound setup as configured, with its secrets resolved."""

from dataclasses import dataclass
from typing import Literal

SourceType = Literal["webhook", "segment"]
MissingId = Literal["generate", "hash", "reject"]
OverLimit = Literal["defer", "drop", "observe"]


@dataclass(frozen=True, slots=True)
class Source:
    """One `[sources.ID]` table. Frozen: a reload replaces the object."""

    id: str
    type: SourceType
    token_digests: tuple[bytes, ...]
    """SHA-256 of each accepted bearer token."""
    signing_secrets: tuple[bytes, ...] = ()
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
