"""What browsers ask before, and want to find beside, an answer on the routes of SDKs (the Fetch standard, CORS)."""

from collections.abc import Collection
from dataclasses import replace

from server.base.refusal import UNAUTHORIZED
from server.http.answer import Answer, refusal_answer
from server.http.head import Header

ANY_ORIGIN = b"*"

_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"POST"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, content-encoding, x-retry-count, anonymousid",
    ),
    (b"access-control-max-age", b"7200"),
)
"""The SDKs' own headers: without x-retry-count a first try would pass, and each retry would be kept back."""


_SHARED: tuple[Header, ...] = ((b"vary", b"Origin"), (b"access-control-expose-headers", b"retry-after"))


def allows(origins: Collection[bytes], origin: bytes | None) -> bool:
    """Return whether a request of this origin may come to a source with these; if either is missing, it may."""
    return not origins or origin is None or origin in origins or ANY_ORIGIN in origins


def shared(answer: Answer, origins: Collection[bytes], origin: bytes | None) -> Answer:
    """Return the answer as one that a page of this origin may read, if it is one of these."""
    if origin is None or not origins or not allows(origins, origin):
        return answer
    said = ANY_ORIGIN if ANY_ORIGIN in origins else origin
    return replace(answer, headers=(*answer.headers, (b"access-control-allow-origin", said), *_SHARED))


def preflight(origins: Collection[bytes], origin: bytes | None) -> Answer:
    """Return the answer to the OPTIONS that a browser sends first, where there are origins; it is shared like any."""
    if not allows(origins, origin):
        return refusal_answer(UNAUTHORIZED, close=True)
    return Answer(204, b"", headers=_PREFLIGHT)
