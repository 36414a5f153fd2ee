"""Bearer tokens and body signatures, compared in constant time. A malformed credential is a wrong one."""

import hashlib
import hmac
import re
from collections.abc import Sequence

UNKNOWN_SOURCE_DIGESTS = (bytes(32),)
"""What a token is compared with if the source is unknown, so that this takes as long. No token has this digest."""

_SIGNATURE = re.compile(rb"(?:sha256=)?([0-9a-fA-F]{64})")


def token_of(authorization: bytes | None) -> bytes | None:
    """Return the token of `Bearer <token>`, the scheme in any case; None if there is none."""
    if authorization is None:
        return None
    scheme, _, rest = authorization.strip(b" \t").partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    return rest.strip(b" \t") or None


def token_matches(presented: bytes | None, digests: Sequence[bytes]) -> bool:
    """Return whether the SHA-256 of the token is among `digests`. Compare with every digest, even without a token."""
    digest = hashlib.sha256(presented or b"").digest()
    found = False
    for known in digests:
        found |= hmac.compare_digest(digest, known)
    return found and presented is not None


def signature_matches(header: bytes | None, body: bytes | bytearray | memoryview, secrets: Sequence[bytes]) -> bool:
    """Return whether `header` is the body's HMAC-SHA256 under any of the secrets: 64 hex digits, `sha256=` allowed.

    A missing or malformed header costs the same work as a wrong one and never raises.
    """
    written = None if header is None else _SIGNATURE.fullmatch(header.strip(b" \t"))
    presented = bytes(32) if written is None else bytes.fromhex(written[1].decode("ascii"))
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(presented, hmac.digest(secret, body, "sha256"))
    return found and written is not None
