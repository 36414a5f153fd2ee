"""How senders sign: one row of a table and one pure function a scheme.

Pure and total: any headers and any bytes give accepted or refused. A head is read first (`Scheme.read`), so that no
body is read whose signature is missing, malformed or stale; then the body is verified (`claims.py`). Vendors' verifiers
are more lenient, each in another way, and nothing that they send needs it.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from server.base.source import SchemeName
from server.intake.claims import Claim, Message, Reading, SignatureHeaders

_HEX = re.compile(rb"[0-9a-fA-F]{64}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{43}=")
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")

_STANDARD_ENTRIES = re.compile(rb"(?<![^ ])v1,([A-Za-z0-9+/]{43}=)(?![^ ])")
_STRIPE_TIMES = re.compile(rb"(?<![^,])t=([^,]*)")
_STRIPE_ENTRIES = re.compile(rb"(?<![^,])v1=([0-9a-fA-F]{64})(?![^,])")
"""Those entries of a list that can be read, found at C speed: anybody can send a head full of others."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way of signing, as its vendor documents it."""

    name: SchemeName
    headers: tuple[bytes, ...]
    """All that it reads."""
    read: Callable[[SignatureHeaders], Reading]
    sign: Callable[[Message], dict[str, str]]
    """Returns the headers that its sender would send with a message."""
    is_dated: bool = False
    """Whether a timestamp is signed, so that an old request can be told from a new one."""
    key: Callable[[bytes], bytes] = bytes
    """Makes the key of a secret. Raises ValueError if it cannot be one; the message does not hold it."""
    event_id_from: tuple[str, ...] = ()
    """Where its events have their ids, if the source does not say: as in `[sources.X] event_id_from`."""
    event_type_from: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    """What the names of its headers may begin with; paths are written with the first."""
    signed_headers: frozenset[bytes] = frozenset()
    """Those headers with an id or a type that are part of what is signed."""
    can_send_token: bool = False
    """Whether its senders can be told to send an Authorization header too."""


# Reading of values.


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


# The schemes.


def _signed_alone(name: str, prefix: str = "sha256=") -> Callable[[Message], dict[str, str]]:
    return lambda message: {name: prefix + message.digest().hex()}


def _sign_standard(message: Message) -> dict[str, str]:
    digest = message.digest(f"{message.event_id}.{message.at_seconds}.")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    at = str(message.at_seconds)
    return {"webhook-id": message.event_id, "webhook-timestamp": at, "webhook-signature": signature}


def _sign_stripe(message: Message) -> dict[str, str]:
    at = message.at_seconds
    return {"stripe-signature": f"t={at},v1={message.digest(f'{at}.').hex()}"}


def _sign_github(message: Message) -> dict[str, str]:
    names = {"x-github-delivery": message.event_id, "x-github-event": message.event_type}
    return names | _signed_alone("x-hub-signature-256")(message)


def _sign_shopify(message: Message) -> dict[str, str]:
    names = {"x-shopify-webhook-id": message.event_id, "x-shopify-topic": message.event_type}
    return names | {"x-shopify-hmac-sha256": base64.b64encode(message.digest()).decode()}


def _sign_dated(signature: str, timestamp: str) -> Callable[[Message], dict[str, str]]:
    def sign(message: Message) -> dict[str, str]:
        at = message.at_seconds
        return {timestamp: str(at), signature: f"v0={message.digest(f'v0:{at}:').hex()}"}

    return sign


def _sign_x(message: Message) -> dict[str, str]:
    return {"x-twitter-webhooks-signature": f"sha256={base64.b64encode(message.digest()).decode()}"}


def _one_header(
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


def _convertmax(value: bytes) -> bytes | None:
    return _hex_digest(value.removeprefix(b"sha256="))


def _github(value: bytes) -> bytes | None:
    return _hex_digest(value[7:]) if value.startswith(b"sha256=") else None


def _x(value: bytes) -> bytes | None:
    return _base64_digest(value[7:]) if value.startswith(b"sha256=") else None


def _families(
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


def _standard(prefix: str, values: Sequence[bytes]) -> Claim | str:
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


def _shopify(prefix: str, values: Sequence[bytes]) -> Claim | str:
    digest = _base64_digest(values[0])
    if digest is None:
        return f"`{prefix}hmac-sha256` is not the BASE64 of 32 bytes"
    return Claim(prefix, b"", (digest,))


def _stripe(headers: SignatureHeaders) -> Reading:
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


def _dated(signature: str, timestamp: str) -> Callable[[SignatureHeaders], Reading]:
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


def _standard_key(secret: bytes) -> bytes:
    text = secret.removeprefix(b"whsec_")
    padded = text if text.endswith(b"=") else text + b"=" * (-len(text) % 4)
    try:
        key = base64.b64decode(padded, validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("is not base64, with or without whsec_, as standard-webhooks has it")
    return key


def _names(prefixes: Sequence[str], names: Sequence[str]) -> Iterator[bytes]:
    yield from ((prefix + name).encode() for prefix in prefixes for name in names)


def _scheme_v0(name: SchemeName, prefix: str, *, ids: tuple[str, ...], types: tuple[str, ...]) -> Scheme:
    """Return a scheme that signs `v0:TIMESTAMP:BODY`, with headers that begin alike."""
    signature, timestamp = f"{prefix}signature", f"{prefix}request-timestamp"
    return Scheme(
        name,
        (signature.encode(), timestamp.encode()),
        _dated(signature, timestamp),
        _sign_dated(signature, timestamp),
        is_dated=True,
        event_id_from=ids,
        event_type_from=types,
    )


_STANDARD = ("webhook-", "svix-")
_SHOPIFY = ("x-shopify-", "shopify-")

SCHEMES: Mapping[str, Scheme] = {
    each.name: each
    for each in (
        Scheme(
            "convertmax",
            (b"x-convertmax-signature",),
            _one_header(b"x-convertmax-signature", _convertmax, "64 hex digits, perhaps after sha256="),
            _signed_alone("x-convertmax-signature"),
            can_send_token=True,
        ),
        Scheme(
            "standard-webhooks",
            tuple(_names(_STANDARD, ("id", "timestamp", "signature"))),
            _families(_STANDARD, (b"id", b"timestamp", b"signature"), _standard),
            _sign_standard,
            is_dated=True,
            key=_standard_key,
            event_id_from=("header.webhook-id",),
            event_type_from=("body.type", "body.event_type"),
            families=_STANDARD,
            signed_headers=frozenset(_names(_STANDARD, ("id",))),
            can_send_token=True,
        ),
        Scheme(
            "stripe",
            (b"stripe-signature",),
            _stripe,
            _sign_stripe,
            is_dated=True,
            event_id_from=("body.id",),
            event_type_from=("body.type",),
        ),
        Scheme(
            "github",
            (b"x-hub-signature-256",),
            _one_header(b"x-hub-signature-256", _github, "sha256= and 64 hex digits"),
            _sign_github,
            event_id_from=("header.x-github-delivery",),
            event_type_from=("header.x-github-event",),
        ),
        Scheme(
            "shopify",
            tuple(_names(_SHOPIFY, ("hmac-sha256",))),
            _families(_SHOPIFY, (b"hmac-sha256",), _shopify),
            _sign_shopify,
            event_id_from=("header.x-shopify-webhook-id",),
            event_type_from=("header.x-shopify-topic",),
            families=_SHOPIFY,
        ),
        _scheme_v0("slack", "x-slack-", ids=("body.event_id",), types=("body.event.type", "body.type")),
        Scheme(
            "meta",
            (b"x-hub-signature-256",),
            _one_header(b"x-hub-signature-256", _github, "sha256= and 64 hex digits"),
            _signed_alone("x-hub-signature-256"),
            event_type_from=("body.object",),
        ),
        _scheme_v0("zoom", "x-zm-", ids=(), types=("body.event",)),
        Scheme(
            "x",
            (b"x-twitter-webhooks-signature",),
            _one_header(b"x-twitter-webhooks-signature", _x, "sha256= and the base64 of 32 bytes"),
            _sign_x,
        ),
    )
}
"""By name."""
