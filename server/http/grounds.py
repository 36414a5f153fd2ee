"""What is recorded of a delivery that was refused: nothing of it on the wire, and no secret in it."""

from collections.abc import Iterable, Mapping

from server.base.refusal import Refusal
from server.base.source import Source
from server.intake.auth import presented_of
from server.intake.intake import DeliveryHead
from server.intake.schemes import secret_of
from server.intake.sdk_bodies import WRITE_KEY
from server.observe.refusals import Grounds
from storage.refusals.records import BODY_BYTES_MAX

MASK = "***"
"""What is on record in the place of a secret."""


def grounds_of(
    source: Source, head: DeliveryHead, refusal: Refusal, body: bytes = b"", *, is_verified: bool = False
) -> Grounds:
    """Return what is recorded of a request that has a token of its source, or goes to one without tokens.

    `body`: the whole, of which the beginning is kept if it `is_verified`: all that authenticates its sender was right.
    Nothing of a compressed one is, in which nobody finds a secret.
    """
    presented = presented_of(head.authorization)
    secrets = [each for each in (presented, source.verify_token, *source.signing_secrets) if each]
    kept = body if is_verified and head.scanned.content_encoding is None else b""
    longest = max(map(len, secrets), default=0)
    shown = _masked(kept[: BODY_BYTES_MAX + longest], secrets, source)[:BODY_BYTES_MAX]
    size = len(body) if is_verified else 0
    is_known = is_verified or bool(source.token_digests)
    headers = _masked_headers(head.scanned.kept, secrets)
    return Grounds(source.id, refusal.why, is_known=is_known, headers=headers, body=shown, body_bytes=size)


def grounds_of_stranger(source: Source | None, head: DeliveryHead, refusal: Refusal) -> Grounds:
    """Return what is recorded of a request before its sender is known: the same work if there is no such source."""
    return Grounds("" if source is None else source.id, refusal.why, headers=head.scanned.kept)


def _masked(body: bytes, secrets: Iterable[bytes], source: Source) -> bytes:
    """Return a body without the sender's secrets: some put them there, too, and others do so by design."""
    for secret in secrets:
        body = body.replace(secret, MASK.encode())
    member = WRITE_KEY if source.type == "segment" else secret_of(source)
    return body if member is None else member.masked(body)


def _masked_headers(headers: Mapping[str, str], secrets: Iterable[bytes]) -> Mapping[str, str]:
    texts = [secret.decode("utf-8", "replace") for secret in secrets]
    if not any(text in value for text in texts for value in headers.values()):
        return headers
    found = dict(headers)
    for text in texts:
        found = {name: value.replace(text, MASK) for name, value in found.items()}
    return found
