"""Tokens and signatures: what is right passes, everything else is wrong without a word."""

import hashlib
import hmac

import pytest

from server.intake.auth import token_matches, token_of
from server.intake.signature import sign, signature_matches

RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]


@pytest.mark.parametrize(("key", "data", "digest"), RFC_4231)
def test_signature_is_hmac_sha256(key: bytes, data: bytes, digest: str) -> None:
    """The vectors of RFC 4231 pass in lower and upper case, with and without the prefix, which we write."""
    assert sign(data, key) == f"sha256={digest}".encode()
    for written in (digest, digest.upper(), f"sha256={digest}", f"sha256={digest.upper()}", f" {digest}\t"):
        assert signature_matches(written.encode(), data, [key])
    assert not signature_matches(digest.encode(), data + b"\n", [key])
    for junk in (f"{digest}0", f"0{digest}", f"{digest},", f"{digest}\n", f"sha256=sha256={digest}", digest[:-1]):
        assert not signature_matches(junk.encode(), data, [key])


def test_any_one_secret_is_accepted() -> None:
    """A rotation needs no downtime: the old and the new secret both sign."""
    body = b"{}"
    for secret in (b"old", b"new"):
        header = hmac.digest(secret, body, "sha256").hex().encode()
        assert signature_matches(header, body, [b"old", b"new"])
        assert not signature_matches(header, body, [b"other"])


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"sha256=",
        b"sha256=" + b"0" * 63,
        b"0" * 65,
        b"00 " * 32,
        b"SHA256=" + b"0" * 64,
        b"sha1=" + b"0" * 64,
        b"g" * 64,
        b"\xff" * 64,
        "０".encode() * 64,
        b"0" * 64,
        b"0" * 64 + b"\n",
    ],
)
def test_malformed_signature_is_wrong(header: bytes | None) -> None:
    """Whatever stands in the header, the answer is no, never an exception."""
    assert not signature_matches(header, b"{}", [b"secret"])


def test_no_secret_signs_nothing() -> None:
    """Without secrets no signature is right, not even that of an empty key."""
    assert not signature_matches(hmac.digest(b"", b"{}", "sha256").hex().encode(), b"{}", [])


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer abc", b"abc"),
        (b"bearer abc", b"abc"),
        (b"BEARER  abc ", b"abc"),
        (b"Bearer \xff\x00", b"\xff\x00"),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Bearerabc", None),
        (b"Basic abc", None),
        (b"", None),
        (None, None),
    ],
)
def test_only_bearer_carries_a_token(header: bytes | None, token: bytes | None) -> None:
    """Only the Bearer scheme carries a token, and its name has no case."""
    assert token_of(header) == token


def test_token_matches_any_digest() -> None:
    """One right token of several is enough; a missing one is never right, even where its digest is known."""
    digests = tuple(hashlib.sha256(token).digest() for token in (b"one", b"two", b""))
    assert token_matches(b"one", digests)
    assert token_matches(b"two", digests)
    assert not token_matches(b"three", digests)
    assert not token_matches(None, digests)
    assert not token_matches(b"one", ())
    assert token_matches(b"two", digests, 5)
    assert not token_matches(b"one", (), 5)
