"""Parses what an admin request asks for from its path and query; a refusal if that is unclear."""

import re
from collections.abc import Collection
from urllib.parse import unquote_to_bytes

from server.base.refusal import Refusal, refuse

BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def event_id(encoded: str | None, query: bytes) -> str | Refusal:
    """Return the event id from the path, else from `?event_id=`."""
    if encoded is not None:
        return decoded(encoded.encode("latin-1"))
    found = value(query, "event_id")
    return refuse("invalid_request", "name an event: in the path, or as ?event_id=") if found is None else found


def limit(query: bytes, most: int) -> int | Refusal:
    """Return the number in `?limit=`, which is `most` if it is not said."""
    found = value(query, "limit")
    if isinstance(found, Refusal) or found is None:
        return most if found is None else found
    number = int(found) if re.fullmatch(r"[0-9]{1,9}", found) else 0
    return number if 1 <= number <= most else refuse("invalid_request", f"limit is a number from 1 to {most}")


def value(query: bytes, name: str) -> str | Refusal | None:
    """Return the first value of this name in the query, where "+" is a space; None if there is none."""
    for pair in query.split(b"&"):
        key, _, found = pair.partition(b"=")
        if key == name.encode():
            return decoded(found.replace(b"+", b" "))
    return None


def values(query: bytes, names: Collection[str]) -> dict[str, list[str]] | Refusal:
    """Return all values of each name in the query, which may have no others."""
    found: dict[str, list[str]] = {}
    for pair in filter(None, query.split(b"&")):
        key, _, encoded = pair.partition(b"=")
        name = key.decode("latin-1")
        text = decoded(encoded.replace(b"+", b" "))
        if name not in names:
            return refuse("invalid_request", f"the query takes {', '.join(names)}")
        if isinstance(text, Refusal):
            return text
        found.setdefault(name, []).append(text)
    return found


def decoded(encoded: bytes) -> str | Refusal:
    """Return the text, percent-decoded exactly once."""
    if BAD_ESCAPE.search(encoded):
        return refuse("invalid_request", "an id in a path is percent-encoded: a % itself is %25")
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        return refuse("invalid_request", "an id is UTF-8, percent-encoded once")
