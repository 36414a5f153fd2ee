"""Signatures of bodies: the header, and HMAC-SHA256 of the body under a secret, made and compared in constant time.

`headers.py` picks the header from a head, `intake.py` checks it, and `tidegate send` makes it.
"""

import hmac
import re
from collections.abc import Sequence

SIGNATURE_HEADER = b"x-convertmax-signature"

_SIGNATURE = re.compile(rb"(?:sha256=)?([0-9a-fA-F]{64})")


def sign(body: bytes | bytearray | memoryview, secret: bytes) -> bytes:
    """Return the value of the header: `sha256=` and 64 hex digits."""
    return b"sha256=" + hmac.digest(secret, body, "sha256").hex().encode()


def signature_matches(header: bytes | None, body: bytes | bytearray | memoryview, secrets: Sequence[bytes]) -> bool:
    """Return whether `header` signs the body under any of the secrets: 64 hex digits, `sha256=` allowed.

    A missing or malformed header takes the same work as a wrong one and never raises.
    """
    written = None if header is None else _SIGNATURE.fullmatch(header.strip(b" \t"))
    presented = bytes(32) if written is None else bytes.fromhex(written[1].decode("ascii"))
    found = False
    for secret in secrets:
        found |= hmac.compare_digest(presented, hmac.digest(secret, body, "sha256"))
    return found and written is not None
