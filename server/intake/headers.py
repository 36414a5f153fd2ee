"""What intake needs from a request's head, in one pass: encoding, signature, id, and the headers that are kept."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from server.intake.signature import SIGNATURE_HEADER

ID_HEADERS = (b"webhook-id", b"svix-id", b"x-github-delivery", b"x-shopify-webhook-id", b"idempotency-key")
"""In order of precedence: the first one present is the id."""

KEPT_HEADERS_MAX = 32
KEPT_HEADERS_BYTES_MAX = 8192
"""Of names and values together. A header that does not fit is left out; later ones that fit are kept."""

_KEPT_NAMES = frozenset((b"content-type", b"user-agent", b"traceparent"))
_KEPT_PREFIXES = (b"x-", b"webhook-")
_SECRET_PARTS = re.compile(rb"auth|token|secret|sign|hmac|password|cookie|session|credential|api-key|apikey|access-key")
_FORM_TYPES = (b"application/x-www-form-urlencoded", b"multipart/")
_BLANK = b" \t"


class HeaderId(NamedTuple):
    """An id header. `value` is None if it is repeated or not UTF-8."""

    name: str
    value: str | None


class Scanned(NamedTuple):
    """What `scan` found in a head."""

    kept: dict[str, str]
    event_id: HeaderId | None
    content_encoding: bytes | None
    """All Content-Encoding values, joined."""
    signature: bytes | None
    """None also if there are two: which one counts must not depend on the reader."""
    form: bool


def scan(headers: Sequence[tuple[bytes, bytes]]) -> Scanned:
    """Return what intake needs from `headers`: lower-case names, in order of arrival, repeated ones included."""
    present = dict(headers)
    encodings = _values(headers, b"content-encoding") if b"content-encoding" in present else ()
    signatures = _values(headers, SIGNATURE_HEADER) if SIGNATURE_HEADER in present else ()
    return Scanned(
        _kept_headers(headers),
        None if present.keys().isdisjoint(ID_HEADERS) else _header_id(headers, present),
        b", ".join(encodings) if encodings else None,
        signatures[0] if len(signatures) == 1 else None,
        _is_form(present.get(b"content-type", b"")),
    )


def with_changed(scanned: Scanned, changed: Sequence[tuple[bytes, bytes]]) -> Scanned:
    """Return what `scan` would for the same head with these values, none of which affects encoding or form.

    Each name occurs once, and neither head is so large that a header is left out.
    """
    kept, event_id, signature = scanned.kept.copy(), scanned.event_id, scanned.signature
    for name, value in changed:
        key = _kept_name(name)
        if key is not None:
            kept[key] = _text(value)
        elif name == SIGNATURE_HEADER:
            signature = value
        if name in ID_HEADERS and event_id is not None and name == event_id.name.encode():
            event_id = HeaderId(event_id.name, _single([value]))
    return Scanned(kept, event_id, scanned.content_encoding, signature, scanned.form)


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for key, value in headers if key == name]


def _is_form(content_type: bytes) -> bool:
    return content_type.strip(_BLANK).lower().startswith(_FORM_TYPES)


def _kept_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    bytes_left = KEPT_HEADERS_BYTES_MAX
    for name, value in headers:
        key = _kept_name(name)
        if key is None:
            continue
        before = texts.get(key)
        size = len(value) + (len(name) if before is None else 2)
        if size <= bytes_left and (before is not None or len(texts) < KEPT_HEADERS_MAX):
            bytes_left -= size
            texts[key] = _text(value) if before is None else f"{before}, {_text(value)}"
    return texts


@lru_cache(maxsize=512)
def _kept_name(name: bytes) -> str | None:
    """Return the name as text if the header is kept, else None. Cached: senders use a few dozen names."""
    if name not in _KEPT_NAMES and not name.startswith(_KEPT_PREFIXES):
        return None
    return None if _SECRET_PARTS.search(name) else name.decode("latin-1")


def _text(value: bytes) -> str:
    """Decode any bytes to text that JSON can hold: as UTF-8, else as Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _header_id(headers: Sequence[tuple[bytes, bytes]], present: dict[bytes, bytes]) -> HeaderId:
    name = next(name for name in ID_HEADERS if name in present)
    return HeaderId(name.decode("ascii"), _single(_values(headers, name)))


def _single(values: list[bytes]) -> str | None:
    if len(values) > 1:
        return None
    try:
        return values[0].strip(_BLANK).decode()
    except UnicodeDecodeError:
        return None
