"""What the head of a signed request says of its body, and whether that is true. Pure and total."""

import hmac
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from storage.frozen import frozen

SignatureHeaders = Mapping[bytes, bytes | None]
"""By name, without white space around: those of a head that a scheme reads; None if one came twice."""


@frozen
class Claim:
    """What a head says of its body: that it was signed together with a text, by one of these signatures."""

    family: str
    """Which of its scheme's families its headers are of, "" if there are none."""
    before: bytes
    """What is signed before the body."""
    digests: tuple[bytes, ...]
    """Signatures that could be read, of 32 bytes each; at least one."""
    signed_at: int | None = None
    """Seconds since the epoch; None if the scheme has no timestamp."""


Reading = Sequence[Claim] | str
"""Claims of which one has to be true; or why there is none, for people. Nothing where it is the body that tells."""


class Message(NamedTuple):
    """What is signed, by whom makes requests to try a source."""

    body: bytes
    key: bytes
    event_id: str
    event_type: str
    at_seconds: int

    def digest(self, before: str = "") -> bytes:
        return hmac.digest(self.key, before.encode() + self.body, "sha256")


def verify(claims: Sequence[Claim], body: bytes | bytearray | memoryview, keys: Sequence[bytes]) -> Claim | None:
    """Return the first claim that is true under any key, None if none is. Compares all of them, in constant time."""
    found: Claim | None = None
    for claim in claims:
        signed = b"".join((claim.before, body)) if claim.before else body
        is_true = False
        for key in keys:
            digest = hmac.digest(key, signed, "sha256")
            for presented in claim.digests:
                is_true |= hmac.compare_digest(presented, digest)
        if is_true and found is None:
            found = claim
    return found


def why_stale(claims: Sequence[Claim], now_seconds: float, tolerance_seconds: int) -> str:
    """Return why no claim is of this time, "" if one is."""
    ages = [now_seconds - claim.signed_at for claim in claims if claim.signed_at is not None]
    if not ages or min(map(abs, ages)) <= tolerance_seconds:
        return ""
    age = min(ages, key=abs)
    words = f"{age:.0f} s old" if age > 0 else f"{-age:.0f} s ahead"
    return f"timestamp {words}, tolerance {tolerance_seconds} s"


def fresh(claims: Sequence[Claim], now_seconds: float, tolerance_seconds: int) -> Sequence[Claim]:
    """Return those claims that are of this time."""
    return [
        claim for claim in claims if claim.signed_at is None or abs(now_seconds - claim.signed_at) <= tolerance_seconds
    ]
