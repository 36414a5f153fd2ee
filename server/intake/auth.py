"""Tokens, compared in constant time: of a Bearer header, or an SDK's write key. Any malformed one is simply wrong."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from itertools import chain, repeat

from server.base.refusal import Refusal, unauthorized

_NO_DIGEST = bytes(32)
"""What a token is compared with if there is nothing else, so that this takes as long. No token has this digest."""

_NO_HEADER = unauthorized("token: the Authorization header is missing, or came twice")
_NO_TOKEN = unauthorized("token: the Authorization header is not `Bearer` and a token, nor `Basic` of `token:`")
_WRONG_TOKEN = unauthorized("token: not one of this source's tokens")


def token_of(authorization: bytes | None) -> bytes | None:
    """Return the token of `Bearer <token>`, the scheme in any case; None if there is none."""
    return _after(b"bearer", authorization)


def write_key_of(authorization: bytes | None) -> bytes | None:
    """Return the key of `Basic <base64 of "key:">`: a user name without a password; None if there is none."""
    written = _after(b"basic", authorization)
    try:
        user, colon, password = base64.b64decode(written or b"", validate=True).partition(b":")
    except ValueError:
        return None
    return (user or None) if colon and not password else None


def presented_of(authorization: bytes | None) -> bytes | None:
    """Return what the header presents as a token, in either way; None if there is none."""
    return write_key_of(authorization) or token_of(authorization)


def bearer(token: bytes) -> bytes:
    """Return the header that carries this token."""
    return b"Bearer " + token


def digest_of(token: bytes | None) -> bytes:
    """Return the SHA-256 by which a token is known; of none, that of nothing, which is no token's."""
    return hashlib.sha256(token or b"").digest()


def token_matches(presented: bytes | None, digests: Sequence[bytes], comparisons: int = 0) -> bool:
    """Return whether the SHA-256 of the token is among `digests`.

    Compare with every digest, even without a token, and `comparisons` times at least: so the time does not tell how
    many there are.
    """
    digest = digest_of(presented)
    found = False
    for known in chain(digests, repeat(_NO_DIGEST, max(0, comparisons - len(digests)))):
        found |= hmac.compare_digest(digest, known)
    return found and presented is not None


def why_unknown(authorization: bytes | None) -> Refusal:
    """Return the refusal of an Authorization header that holds no token of its source."""
    if authorization is None:
        return _NO_HEADER
    return _NO_TOKEN if presented_of(authorization) is None else _WRONG_TOKEN


def _after(scheme: bytes, authorization: bytes | None) -> bytes | None:
    """Return what follows this scheme; None if it is another one, or nothing follows."""
    if authorization is None:
        return None
    name, _, rest = authorization.strip(b" \t").partition(b" ")
    return (rest.strip(b" \t") or None) if name.lower() == scheme else None
