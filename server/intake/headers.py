"""What intake needs from a request's head, in one pass: encoding, id, and the headers that are kept."""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

ID_HEADERS = (b"webhook-id", b"svix-id", b"x-github-delivery", b"x-shopify-webhook-id", b"idempotency-key")
"""In order of precedence: the first one present is the id."""

KEPT_HEADERS_MAX = 32
KEPT_HEADERS_BYTES_MAX = 8192
"""Of names and values together. A header that does not fit is left out; later ones that fit are kept."""

_KEPT_NAMES = frozenset((b"content-type", b"user-agent", b"traceparent"))
_KEPT_PREFIXES = (b"x-", b"webhook-")
SECRET_PARTS = re.compile(rb"auth|token|secret|sign|hmac|password|cookie|session|credential|api-key|apikey|access-key")
"""A header with one of these in its name may hold a secret: it is not kept, and nothing is made of it."""
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
    form: bool
    lines: Sequence[tuple[bytes, bytes]]
    """All headers, for the few sources that look for a signature, an id or a type in one. Secrets are among them; the
    Content-Length may be that of a like request."""


def scan(headers: Sequence[tuple[bytes, bytes]]) -> Scanned:
    """Return what intake needs from `headers`: lower-case names, in order of arrival, repeated ones included."""
    present = dict(headers)
    encodings = _values(headers, b"content-encoding") if b"content-encoding" in present else ()
    return Scanned(
        _kept_headers(headers),
        None if present.keys().isdisjoint(ID_HEADERS) else _header_id(headers, present),
        b", ".join(encodings) if encodings else None,
        _is_form(present.get(b"content-type", b"")),
        headers,
    )


def with_changed(
    scanned: Scanned, changed: Sequence[tuple[bytes, bytes]], lines: Sequence[tuple[bytes, bytes]]
) -> Scanned:
    """Return what `scan` would of `lines`: the same head with these values, none of which affects encoding or form.

    Each name occurs once, and neither head is so large that a header is left out.
    """
    kept, event_id = scanned.kept.copy(), scanned.event_id
    for name, value in changed:
        key = _kept_name(name)
        if key is not None:
            kept[key] = _text(value)
        if name in ID_HEADERS and event_id is not None and name == event_id.name.encode():
            event_id = HeaderId(event_id.name, _single([value]))
    return Scanned(kept, event_id, scanned.content_encoding, scanned.form, lines)


def values_of(scanned: Scanned, names: Collection[bytes]) -> Mapping[bytes, bytes | None]:
    """Return the values of these headers, of those that are there; None if one came twice: which one counts must not
    depend on the reader."""
    found: dict[bytes, bytes | None] = {}
    for name, value in scanned.lines:
        if name in names:
            found[name] = None if name in found else value.strip(_BLANK)
    return found


def utf8(value: bytes) -> str | None:
    """Return a value as text, None if it is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


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
    return None if SECRET_PARTS.search(name) else name.decode("latin-1")


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
    return utf8(values[0].strip(_BLANK)) if len(values) == 1 else None
