"""The routes of deliveries: a source's own, and those that the SDKs of Segment and RudderStack add to their address.

Both front ends ask here, so that they take the same requests. An SDK's route stands below a source's, or at the root,
where the key finds the source.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs

from server.intake.auth import bearer
from storage.frozen import frozen

SOURCE_ID = "[A-Za-z0-9_-]{1,64}"
INBOUND = "/ingest/inbound/"

_BATCHES = ("/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch")
_TYPES = ("track", "identify", "page", "screen", "group", "alias")


@frozen
class Route:
    """A route of SDKs."""

    suffix: str
    type: str = ""
    """That of an event which says none itself; "" where a body may be a batch."""


SDK_ROUTES: Mapping[str, Route] = {
    route.suffix: route
    for route in (
        *(Route(suffix) for suffix in _BATCHES),
        *(Route(f"/v1/{name}", kind) for kind in _TYPES for name in (kind, kind[0])),
    )
}

STARTS = (INBOUND.encode(), b"/v1/", b"/beacon/v1/")
"""Every route begins with one of these; the most frequent first."""

_SUFFIXES = "|".join(SDK_ROUTES)
_SOURCE = f"{INBOUND[1:]}{SOURCE_ID}"
PATHS = f"(?:{_SOURCE}|(?:{_SOURCE}/)?(?:{_SUFFIXES[1:].replace('|/', '|')})/?)"
"""Matches the paths of deliveries behind their first slash. One at the end is for SDKs' routes alone."""

_PARTS = re.compile(f"(?:{INBOUND}({SOURCE_ID}))?(?:({_SUFFIXES})/?)?".encode())


class Target(NamedTuple):
    """What a delivery's target says."""

    source_id: str
    """"" at the root."""
    route: Route | None
    """None if it is the source's own."""
    query: bytes


def target_of(target: bytes) -> Target | None:
    """Return what a target says; None if it is not one of a delivery."""
    path, _, query = target.partition(b"?")
    found = _PARTS.fullmatch(path)
    if found is None or not path:
        return None
    source_id, suffix = found.groups(b"")
    return Target(source_id.decode(), SDK_ROUTES[suffix.decode()] if suffix else None, query)


def authorization_of(values: Sequence[bytes], target: Target) -> bytes | None:
    """Return the credential of a head with these Authorization headers; None if it has none.

    Without such a header it is the query's `writeKey` on an SDK's route, written as a header. What is there twice is
    wrong.
    """
    if len(values) == 1:
        return values[0]
    if target.route is None:
        return None
    keys = () if values else _query_keys(target.query)
    if len(keys) == 1:
        return bearer(keys[0])
    return b"" if values or keys else None


def _query_keys(query: bytes) -> Sequence[bytes]:
    if b"writeKey" not in query:
        return ()
    return [key.encode() for key in parse_qs(query.decode("latin-1"), keep_blank_values=True).get("writeKey", ())]
