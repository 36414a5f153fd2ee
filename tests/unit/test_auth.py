"""Tokens: what is right passes, everything else is wrong without a word."""

import hashlib

import pytest

from server.intake.auth import token_matches, token_of


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
