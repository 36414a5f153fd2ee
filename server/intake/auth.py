"""Bearer tokens, compared in constant time. Any malformed one is simply a wrong one."""

import hashlib
import hmac
from collections.abc import Sequence

UNKNOWN_SOURCE_DIGESTS = (bytes(32),)
"""What a token is compared with if the source is unknown, so that this takes as long. No token has this digest."""


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
