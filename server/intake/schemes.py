"""How senders sign: one row of a table and one pure function a scheme.

Pure and total: any headers and any bytes give accepted or refused. A head is read first (`Scheme.read`), so that no
body is read whose signature is missing, malformed or stale; then the body is verified (`claims.py`). Where nothing is
signed, and each item of a body holds the secret itself, that is compared (`item_secrets.py`).
"""

import base64
from collections.abc import Iterator, Mapping, Sequence

from server.base.source import SchemeName, Source
from server.intake import readings, signing
from server.intake.auth import digest_of
from server.intake.scheme import Scheme
from server.intake.secret_members import SecretMember

CLIENT_STATE_CHARACTERS_MAX = 128
"""As Microsoft Graph takes them."""


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


def _client_state_key(secret: bytes) -> bytes:
    try:
        characters = len(secret.decode())
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8, as a clientState is") from None
    if characters > CLIENT_STATE_CHARACTERS_MAX:
        raise ValueError(f"is longer than the {CLIENT_STATE_CHARACTERS_MAX} characters that a clientState may have")
    return digest_of(secret)


def _names(prefixes: Sequence[str], names: Sequence[str]) -> Iterator[bytes]:
    yield from ((prefix + name).encode() for prefix in prefixes for name in names)


def _scheme_v0(name: SchemeName, prefix: str, *, ids: tuple[str, ...], types: tuple[str, ...]) -> Scheme:
    """Return a scheme that signs `v0:TIMESTAMP:BODY`, with headers that begin alike."""
    signature, timestamp = f"{prefix}signature", f"{prefix}request-timestamp"
    return Scheme(
        name,
        (signature.encode(), timestamp.encode()),
        readings.dated(signature, timestamp),
        signing.dated(signature, timestamp),
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
            readings.one_header(b"x-convertmax-signature", readings.convertmax, "64 hex digits, perhaps after sha256="),
            signing.alone("x-convertmax-signature"),
            can_send_token=True,
        ),
        Scheme(
            "standard-webhooks",
            tuple(_names(_STANDARD, ("id", "timestamp", "signature"))),
            readings.families(_STANDARD, (b"id", b"timestamp", b"signature"), readings.standard),
            signing.standard,
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
            readings.stripe,
            signing.stripe,
            is_dated=True,
            event_id_from=("body.id",),
            event_type_from=("body.type",),
        ),
        Scheme(
            "github",
            (b"x-hub-signature-256",),
            readings.one_header(b"x-hub-signature-256", readings.github, "sha256= and 64 hex digits"),
            signing.github,
            event_id_from=("header.x-github-delivery",),
            event_type_from=("header.x-github-event",),
        ),
        Scheme(
            "shopify",
            tuple(_names(_SHOPIFY, ("hmac-sha256",))),
            readings.families(_SHOPIFY, (b"hmac-sha256",), readings.shopify),
            signing.shopify,
            event_id_from=("header.x-shopify-webhook-id",),
            event_type_from=("header.x-shopify-topic",),
            families=_SHOPIFY,
        ),
        _scheme_v0("slack", "x-slack-", ids=("body.event_id",), types=("body.event.type", "body.type")),
        Scheme(
            "meta",
            (b"x-hub-signature-256",),
            readings.one_header(b"x-hub-signature-256", readings.github, "sha256= and 64 hex digits"),
            signing.alone("x-hub-signature-256"),
            event_type_from=("body.object",),
        ),
        _scheme_v0("zoom", "x-zm-", ids=(), types=("body.event",)),
        Scheme(
            "x",
            (b"x-twitter-webhooks-signature",),
            readings.one_header(b"x-twitter-webhooks-signature", readings.x, "sha256= and the base64 of 32 bytes"),
            signing.x,
        ),
        Scheme(
            "microsoft-graph",
            (),
            readings.nothing,
            signing.nothing,
            secret=SecretMember("clientState", "value", in_body=False),
            key=_client_state_key,
            event_id_from=("body.id",),
            event_type_from=("body.lifecycleEvent", "body.changeType"),
        ),
    )
}
"""By name."""


def secret_of(source: Source) -> SecretMember | None:
    """Return what each item of this source's bodies has instead of a signature; None if they are signed, or neither."""
    return SCHEMES[source.signature].secret if source.signing_keys else None
