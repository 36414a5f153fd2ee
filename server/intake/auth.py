"""Bearer tokens, compared in constant time. Any malformed one is simply a wrong one."""

import hashlib
import hmac
from collections.abc import Sequence
from itertools import chain, repeat

from server.base.refusal import Refusal, unauthorized

_NO_DIGEST = bytes(32)
"""What a token is compared with if there is nothing else, so that this takes as long. No token has this digest."""

_NO_HEADER = unauthorized("token: the Authorization header is missing, or came twice")
_NO_TOKEN = unauthorized("token: the Authorization header is not `Bearer` and a token")
_WRONG_TOKEN = unauthorized("token: it is none of this source's")


def token_of(authorization: bytes | None) -> bytes | None:
    """Return the token of `Bearer <token>`, the scheme in any case; None if there is none."""
    if authorization is None:
        return None
    scheme, _, rest = authorization.strip(b" \t").partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    return rest.strip(b" \t") or None


def token_matches(presented: bytes | None, digests: Sequence[bytes], comparisons: int = 0) -> bool:
    """Return whether the SHA-256 of the token is among `digests`.

    Compare with every digest, even without a token, and `comparisons` times at least: so the time does not tell how
    many there are.
    """
    digest = hashlib.sha256(presented or b"").digest()
    found = False
    for known in chain(digests, repeat(_NO_DIGEST, max(0, comparisons - len(digests)))):
        found |= hmac.compare_digest(digest, known)
    return found and presented is not None


def why_unknown(authorization: bytes | None) -> Refusal:
    """Return the refusal of an Authorization header that holds no token of its source."""
    if authorization is None:
        return _NO_HEADER
    return _NO_TOKEN if token_of(authorization) is None else _WRONG_TOKEN
