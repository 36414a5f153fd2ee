"""Bearer tokens, compared in constant time. Any malformed one is simply a wrong one."""

import hashlib
import hmac
from collections.abc import Sequence

UNKNOWN_SOURCE_DIGESTS = (bytes(32),)
"""What a token is compared with where the source is unknown, so that this costs the same. No token has this digest."""


def token_of(authorization: bytes | None) -> bytes | None:
    """The token of `Bearer <token>`, the scheme in any case; None where there is none."""
    if authorization is None:
        return None
    scheme, _, rest = authorization.strip(b" \t").partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    return rest.strip(b" \t") or None


def token_matches(presented: bytes | None, digests: Sequence[bytes]) -> bool:
    """Whether the SHA-256 of the token is among `digests`. Every digest is looked at, also where no token came."""
    digest = hashlib.sha256(presented or b"").digest()
    found = False
    for known in digests:
        found |= hmac.compare_digest(digest, known)
    return found and presented is not None
