"""What heads say of their bodies' signatures, read strictly: one pure function a scheme.

Vendors' verifiers are more lenient, each in another way, and nothing that they send needs it.
"""

import binascii
import re
from collections.abc import Callable, Iterable, Sequence

from server.intake.claims import Claim, Reading, SignatureHeaders

_HEX = re.compile(rb"[0-9a-fA-F]{64}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{43}=")
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")

_STANDARD_ENTRIES = re.compile(rb"(?<![^ ])v1,([A-Za-z0-9+/]{43}=)(?![^ ])")
_STRIPE_TIMES = re.compile(rb"(?<![^,])t=([^,]*)")
_STRIPE_ENTRIES = re.compile(rb"(?<![^,])v1=([0-9a-fA-F]{64})(?![^,])")
"""Those entries of a list that can be read, found at C speed: anybody can send a head full of others."""


def _value(headers: SignatureHeaders, name: bytes) -> bytes | str:
    """Return a header's value, or why there is none."""
    if name not in headers:
        return f"`{name.decode()}` is missing"
    value = headers[name]
    return f"`{name.decode()}` came twice" if value is None else value


def _hex_digest(text: bytes) -> bytes | None:
    return bytes.fromhex(text.decode()) if _HEX.fullmatch(text) else None


def _base64_digest(text: bytes) -> bytes | None:
    """Return the 32 bytes; None unless the text is the one way to write them."""
    if not _BASE64.fullmatch(text):
        return None
    digest = binascii.a2b_base64(text)
    return digest if binascii.b2a_base64(digest, newline=False) == text else None


def _timestamp(text: bytes) -> int | None:
    return int(text) if _TIMESTAMP.fullmatch(text) else None


def _present(digests: Iterable[bytes | None]) -> tuple[bytes, ...]:
    return tuple(each for each in digests if each is not None)


def nothing(_: SignatureHeaders) -> Reading:
    """Say that a head claims nothing: what authenticates is in the body."""
    return ()


def one_header(
    name: bytes, digest: Callable[[bytes], bytes | None], form: str
) -> Callable[[SignatureHeaders], Reading]:
    """Return how a scheme is read that has the signature of the body alone in one header."""

    def read(headers: SignatureHeaders) -> Reading:
        value = _value(headers, name)
        if isinstance(value, str):
            return value
        found = digest(value)
        return f"`{name.decode()}` is not {form}" if found is None else [Claim("", b"", (found,))]

    return read


def convertmax(value: bytes) -> bytes | None:
    return _hex_digest(value.removeprefix(b"sha256="))


def github(value: bytes) -> bytes | None:
    return _hex_digest(value[7:]) if value.startswith(b"sha256=") else None


def x(value: bytes) -> bytes | None:
    return _base64_digest(value[7:]) if value.startswith(b"sha256=") else None


def families(
    prefixes: Sequence[str], names: Sequence[bytes], claim: Callable[[str, Sequence[bytes]], Claim | str]
) -> Callable[[SignatureHeaders], Reading]:
    """Return how a scheme is read that has one of several families of headers: all that are complete are claims."""

    def read(headers: SignatureHeaders) -> Reading:
        claims: list[Claim] = []
        mistakes: list[str] = []
        for prefix in prefixes:
            values = [_value(headers, prefix.encode() + name) for name in names]
            missing = [each for each in values if isinstance(each, str)]
            found = missing[0] if missing else claim(prefix, [each for each in values if isinstance(each, bytes)])
            if isinstance(found, Claim):
                claims.append(found)
            elif len(missing) < len(names):
                mistakes.insert(0, found)
            else:
                mistakes.append(found)
        return claims or mistakes[0]

    return read


def standard(prefix: str, values: Sequence[bytes]) -> Claim | str:
    identity, written, signatures = values
    at = _timestamp(written)
    if not identity:
        return f"`{prefix}id` is empty"
    if at is None:
        return f"`{prefix}timestamp` is not 1 to 12 digits"
    digests = _present(map(_base64_digest, _STANDARD_ENTRIES.findall(signatures)))
    if not digests:
        return f"`{prefix}signature` has no entry v1,BASE64 of 32 bytes"
    return Claim(prefix, b"%b.%b." % (identity, written), digests, at)


def shopify(prefix: str, values: Sequence[bytes]) -> Claim | str:
    digest = _base64_digest(values[0])
    if digest is None:
        return f"`{prefix}hmac-sha256` is not the BASE64 of 32 bytes"
    return Claim(prefix, b"", (digest,))


def stripe(headers: SignatureHeaders) -> Reading:
    value = _value(headers, b"stripe-signature")
    if isinstance(value, str):
        return value
    times = _STRIPE_TIMES.findall(value)
    if len(times) != 1:
        return f"`stripe-signature` has {len(times) or 'no'} t=" + ("" if not times else ", and there may be one")
    at = _timestamp(times[0])
    if at is None:
        return "`stripe-signature` has a t= that is not 1 to 12 digits"
    digests = _present(map(_hex_digest, _STRIPE_ENTRIES.findall(value)))
    if not digests:
        return "`stripe-signature` has no v1= of 64 hex digits"
    return [Claim("", times[0] + b".", digests, at)]


def dated(signature: str, timestamp: str) -> Callable[[SignatureHeaders], Reading]:
    """Return how a scheme is read that signs `v0:TIMESTAMP:BODY`."""

    def read(headers: SignatureHeaders) -> Reading:
        value, written = _value(headers, signature.encode()), _value(headers, timestamp.encode())
        if isinstance(value, str):
            return value
        if isinstance(written, str):
            return written
        at = _timestamp(written)
        if at is None:
            return f"`{timestamp}` is not 1 to 12 digits"
        digest = _hex_digest(value[3:]) if value.startswith(b"v0=") else None
        if digest is None:
            return f"`{signature}` is not v0= and 64 hex digits"
        return [Claim("", b"v0:%b:" % written, (digest,), at)]

    return read
