"""What intake takes from the head of a request, in one pass: encoding, signature, id, and the headers that are kept."""

import re
from collections.abc import Sequence
from typing import NamedTuple

SIGNATURE_HEADER = b"x-convertmax-signature"

ID_HEADERS = (b"webhook-id", b"svix-id", b"x-github-delivery", b"x-shopify-webhook-id", b"idempotency-key")
"""The first of these that came is the id."""

KEPT_HEADERS_MAX = 32
KEPT_HEADERS_BYTES_MAX = 8192
"""Names and values together. A header that does not fit is left out; later ones that fit are kept."""

_KEPT_NAMES = frozenset((b"content-type", b"user-agent", b"traceparent"))
_KEPT_PREFIXES = (b"x-", b"webhook-")
_SECRET_PARTS = re.compile(rb"auth|token|secret|sign|hmac|password|cookie|session|credential|api-key|apikey|access-key")
_FORM_TYPES = (b"application/x-www-form-urlencoded", b"multipart/")
_BLANK = b" \t"


class HeaderId(NamedTuple):
    """An id header that came. `value` is None where it came twice or is not UTF-8."""

    name: str
    value: str | None


class Scanned(NamedTuple):
    """The head as intake sees it."""

    kept: dict[str, str]
    event_id: HeaderId | None
    content_encoding: bytes | None
    """All Content-Encoding values, joined."""
    signature: bytes | None
    """None also where two came: which one counts must not depend on who reads."""
    form: bool


def scan(headers: Sequence[tuple[bytes, bytes]]) -> Scanned:
    """`headers` have lower-case names and are in the order in which they came, repeated ones included."""
    kept = _Kept()
    ids: dict[bytes, list[bytes]] = {}
    encodings: list[bytes] = []
    signatures: list[bytes] = []
    form = False
    for name, value in headers:
        if name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES):
            kept.add(name, value)
            if name == b"content-type":
                form = form or value.strip(_BLANK).lower().startswith(_FORM_TYPES)
            elif name == SIGNATURE_HEADER:
                signatures.append(value)
        elif name == b"content-encoding":
            encodings.append(value)
        if name in ID_HEADERS:
            ids.setdefault(name, []).append(value)
    return Scanned(
        kept.texts,
        _header_id(ids) if ids else None,
        b", ".join(encodings) if encodings else None,
        signatures[0] if len(signatures) == 1 else None,
        form,
    )


class _Kept:
    __slots__ = ("bytes_left", "texts")

    def __init__(self) -> None:
        self.bytes_left = KEPT_HEADERS_BYTES_MAX
        self.texts: dict[str, str] = {}

    def add(self, name: bytes, value: bytes) -> None:
        if _SECRET_PARTS.search(name):
            return
        key, text = name.decode("latin-1"), _text(value)
        before = self.texts.get(key)
        size = len(value) + (len(name) if before is None else 2)
        if size > self.bytes_left or (before is None and len(self.texts) == KEPT_HEADERS_MAX):
            return
        self.bytes_left -= size
        self.texts[key] = text if before is None else f"{before}, {text}"


def _text(value: bytes) -> str:
    """Any bytes as text that JSON can hold: UTF-8, or else Latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _header_id(ids: dict[bytes, list[bytes]]) -> HeaderId:
    name = next(name for name in ID_HEADERS if name in ids)
    return HeaderId(name.decode("ascii"), _single(ids[name]))


def _single(values: list[bytes]) -> str | None:
    if len(values) > 1:
        return None
    try:
        return values[0].strip(_BLANK).decode()
    except UnicodeDecodeError:
        return None
