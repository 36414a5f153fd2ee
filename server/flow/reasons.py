"""Why events of a source are pending: what the store cannot say, at one moment of a running server."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.intake.events import rfc3339


@dataclass(frozen=True, slots=True)
class Retried:
    """What a command found waiting after a failure, and let go on."""

    events: int = 0
    """Those that waited for a retry of their own."""
    source_waited: bool = False
    """No event of the source was tried, after a failure that was not one event's own."""


@dataclass(frozen=True, slots=True)
class PendingReasons:
    """Why events of one source wait. Times are the wall clock's, in ms."""

    is_paused: bool = False
    resumes_at_ms: int | None = None
    """Until when no call is made; None if calls are."""
    is_outage: bool = False
    """No call is made, or events are set aside, because of an outage."""
    error: str | None = None
    """Of that failure."""
    retries_at_ms: Mapping[int, int] = field(default_factory=dict)
    """By number, the events that wait for a retry of their own."""
    aside: frozenset[int] = frozenset()
    """Events that met the outage alone."""

    def explained(self, pending: dict[str, object], /) -> dict[str, object]:
        """Return a pending event, as look-ups show it from the store, with why it waits, as it is now."""
        found, number = dict(pending), pending.get("number")
        at_ms = self.retries_at_ms.get(number) if isinstance(number, int) else None
        if self.is_paused:
            return found | {"reason": "paused"}
        if at_ms is not None:
            return found | {"reason": "retrying", "next_attempt_at": rfc3339(at_ms)}
        if found.get("reason") == "deferred":
            return found
        if number in self.aside or (self.is_outage and self.resumes_at_ms is not None):
            return found | {"reason": "outage"} | self._waiting()
        return found | {"reason": "retrying"} | self._waiting() if self.resumes_at_ms is not None else found

    def _waiting(self) -> dict[str, object]:
        error: dict[str, object] = {} if self.error is None else {"error": self.error}
        return error if self.resumes_at_ms is None else error | {"next_attempt_at": rfc3339(self.resumes_at_ms)}
