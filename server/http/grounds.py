"""What is recorded of a delivery that was refused: nothing of it on the wire, and no secret in it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

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
    known = {each for each in (presented, source.verify_token, *source.signing_secrets) if each}
    secrets = sorted(known, key=len, reverse=True)  # one may be the beginning of another
    kept = body if is_verified and head.scanned.content_encoding is None else b""
    size = len(body) if is_verified else 0
    is_known = is_verified or bool(source.token_digests)
    headers = _masked_headers(head.scanned.kept, secrets)
    shown = _shown(kept, secrets, source) if kept else b""
    return Grounds(source.id, refusal.why, is_known=is_known, headers=headers, body=shown, body_bytes=size)


def grounds_of_stranger(source: Source | None, head: DeliveryHead, refusal: Refusal) -> Grounds:
    """Return what is recorded of a request before its sender is known: the same work if there is no such source."""
    return Grounds("" if source is None else source.id, refusal.why, headers=head.scanned.kept)


def _shown(body: bytes, secrets: Sequence[bytes], source: Source) -> bytes:
    """Return the beginning of a body without its sender's secrets: some put them there, and others do so by design.

    What is read may end inside a secret, and each that is masked makes it shorter: so its end is left out.
    """
    ways = sorted({way for secret in secrets for way in _written(secret)}, key=len, reverse=True)
    longest = max(map(len, ways), default=0)
    read = body[: BODY_BYTES_MAX + longest]
    found = read
    for way in ways:
        found = found.replace(way, MASK.encode())
    if len(read) < len(body):
        found = found[: max(0, len(found) - longest)]
    member = WRITE_KEY if source.type == "segment" else secret_of(source)
    return (found if member is None else member.masked(found))[:BODY_BYTES_MAX]


def _written(secret: bytes) -> Iterator[bytes]:
    """Yield the ways in which a body has it: as it is, and as JSON and forms write it."""
    yield secret
    text = json.dumps(secret.decode("utf-8", "surrogateescape"))[1:-1]
    yield from (text.encode(), text.replace("/", r"\/").encode(), quote(secret, safe="").encode())


def _masked_headers(headers: Mapping[str, str], secrets: Sequence[bytes]) -> Mapping[str, str]:
    texts = [secret.decode("utf-8", "replace") for secret in secrets]
    if not any(text in value for text in texts for value in headers.values()):
        return headers
    found = dict(headers)
    for text in texts:
        found = {name: value.replace(text, MASK) for name, value in found.items()}
    return found
