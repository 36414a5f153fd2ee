"""Every answer that is not a 200, from a closed list: status, code and message."""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was refused. `message` is for people, `code` for programs. Always returned, never raised."""

    status: int
    code: str
    message: str
    retry_after_seconds: int | None = None
    detail: str = field(default="", compare=False)
    """Words that no sender may hear: they go to whoever runs the server."""

    @property
    def why(self) -> str:
        """The reason as whoever runs the server hears it."""
        return self.detail or self.message


RETRY_AFTER_SECONDS = 5
"""Long enough for a group of outcomes to free room, short enough for a sender on whom a person waits."""

STATUS = {
    "invalid_json": 400,
    "invalid_event": 400,
    "invalid_encoding": 400,
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "expired": 404,
    "forgotten": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "too_large": 413,
    "unsupported_encoding": 415,
    "unsupported_media_type": 415,
    "headers_too_large": 431,
    "overloaded": 503,
    "storage_full": 503,
    "storage_failed": 503,
    "draining": 503,
    "starting": 503,
}


def refuse(code: str, message: str) -> Refusal:
    """Return the refusal with this code; a code outside the list is our bug and raises KeyError."""
    status = STATUS[code]
    return Refusal(status, code, message, RETRY_AFTER_SECONDS if status == 503 else None)


SDK_RETRY_SECONDS = 30
"""Of SDKs, which wait for it after a 429, and after a 503 go on at once or give up."""
SDK_LATER = frozenset(("overloaded", "storage_full", "storage_failed", "draining", "starting", "timeout"))
"""What an SDK is to send again later: 429 on its routes."""


def for_sdk(refusal: Refusal) -> Refusal:
    """Return the refusal as SDKs understand it."""
    return replace(refusal, status=429, retry_after_seconds=SDK_RETRY_SECONDS) if refusal.code in SDK_LATER else refusal


UNAUTHORIZED = refuse("unauthorized", "unknown source, or wrong or missing token or signature")


def unauthorized(detail: str) -> Refusal:
    """Return UNAUTHORIZED, to any sender the same, with what was wrong."""
    return Refusal(UNAUTHORIZED.status, UNAUTHORIZED.code, UNAUTHORIZED.message, detail=detail)
