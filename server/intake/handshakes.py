"""What vendors ask an address before they send to it: a challenge, to be given back or signed. Nothing of it is kept.

They ask by GET, by a body that is signed as their events are, or by the query of a POST without a body.

Each is answered only by a source whose scheme is that vendor's. Where the answer is signed, the challenge may have no
character that a JSON body or a signed text needs, so that nobody can have those signed.
"""

import base64
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import orjson

from server.base.refusal import Refusal, unauthorized
from server.base.source import SchemeName, Source
from server.intake.decode import Buffer
from storage.frozen import frozen

QUERY_BYTES_MAX = 4096

_NOT_UTF8 = "\ufffd"
"""What stands in a parameter for bytes that are none."""

_CHALLENGE = re.compile(r"[A-Za-z0-9+/=_-]{1,256}")


@frozen
class Handshake:
    """What a vendor is answered, with 200."""

    body: bytes
    is_text: bool = False
    """Whether it is the challenge as it came, and not JSON."""


Query = Mapping[str, str]
"""The parameters of a query; one that came twice is not among them."""


def on_get(source: Source, query: bytes) -> Handshake | None:
    """Return the answer to a GET of a source for which `asks_by_get` holds; None if it is not rightly asked."""
    if len(query) > QUERY_BYTES_MAX:
        return None
    return _BY_GET[source.signature](source, _parameters(query))


def asks_by_get(source: Source) -> bool:
    """Return whether this source's vendor asks by GET."""
    return bool(source.signing_keys) and source.signature in _BY_GET


def asks_by_post(source: Source) -> bool:
    """Return whether this source's vendor asks by a signed POST, which looks like an event."""
    return bool(source.signing_keys) and source.signature in _BY_POST


def on_post(source: Source, body: object) -> Handshake | Refusal | None:
    """Return the answer to a parsed body whose signature is right; None if it is not a question, but an event."""
    if not asks_by_post(source) or not isinstance(body, dict):
        return None
    return _BY_POST[source.signature](source.signing_keys, body)


def asks_by_query(source: Source, query: bytes) -> bool:
    """Return whether a POST to this source asks by its query, so that it can be no event."""
    name = _QUERY_NAMES.get(source.signature)
    return name is not None and bool(source.signing_keys) and name.encode() in query


def on_query(source: Source, query: bytes, body: Buffer) -> Handshake | Refusal | None:
    """Return the answer to a POST whose query asks, to the byte what it asked with; None if its body is to be read."""
    if not asks_by_query(source, query):
        return None
    name = _QUERY_NAMES[source.signature]
    token = _parameters(query).get(name, "") if len(query) <= QUERY_BYTES_MAX and not body else ""
    if not token or not token.isprintable() or _NOT_UTF8 in token:
        words = f"one {name} of printable characters, in a query of {QUERY_BYTES_MAX} bytes at most, and no body"
        return unauthorized(f"handshake: a POST that asks has {words}")
    return Handshake(token.encode(), is_text=True)


def _parameters(query: bytes) -> Query:
    found = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _challenge(value: object) -> str | None:
    return value if isinstance(value, str) and _CHALLENGE.fullmatch(value) else None


def _meta(source: Source, query: Query) -> Handshake | None:
    challenge = _challenge(query.get("hub.challenge"))
    said = query.get("hub.verify_token", "").encode()
    is_right = hmac.compare_digest(said, source.verify_token) and query.get("hub.mode") == "subscribe"
    return Handshake(challenge.encode(), is_text=True) if challenge and is_right else None


def _x(source: Source, query: Query) -> Handshake | None:
    token = _challenge(query.get("crc_token"))
    if token is None:
        return None
    digest = base64.b64encode(hmac.digest(source.signing_keys[0], token.encode(), "sha256"))
    return Handshake(orjson.dumps({"response_token": f"sha256={digest.decode()}"}))


def _slack(_: Sequence[bytes], body: Mapping[str, Any]) -> Handshake | None:
    if body.get("type") != "url_verification" or not isinstance(body.get("challenge"), str):
        return None
    return Handshake(orjson.dumps({"challenge": body["challenge"]}))


def _zoom(keys: Sequence[bytes], body: Mapping[str, Any]) -> Handshake | Refusal | None:
    if body.get("event") != "endpoint.url_validation":
        return None
    payload = body.get("payload")
    token = _challenge(payload.get("plainToken")) if isinstance(payload, dict) else None
    if token is None:
        return unauthorized("handshake: payload.plainToken is not 1 to 256 characters of A-Z a-z 0-9 + / = _ -")
    encrypted = hmac.digest(keys[0], token.encode(), "sha256").hex()
    return Handshake(orjson.dumps({"plainToken": token, "encryptedToken": encrypted}))


def why_not_asked(source: Source) -> str:
    """Return how a source's vendor asks by GET, for the record of one who did not."""
    return f"handshake: {_GET_WORDS[source.signature]}"


_QUERY_NAMES: Mapping[SchemeName, str] = {"microsoft-graph": "validationToken"}
_GET_WORDS: Mapping[SchemeName, str] = {
    "meta": "a GET needs hub.mode=subscribe, the hub.verify_token of this source, and a hub.challenge",
    "x": "a GET needs a crc_token",
}
_BY_GET: Mapping[SchemeName, Callable[[Source, Query], Handshake | None]] = {"meta": _meta, "x": _x}
_BY_POST: Mapping[SchemeName, Callable[[Sequence[bytes], Mapping[str, Any]], Handshake | Refusal | None]] = {
    "slack": _slack,
    "zoom": _zoom,
}
