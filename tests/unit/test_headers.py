"""Kept headers: which, how many, and that any bytes come out as text."""

from collections.abc import Sequence

import orjson
import pytest

from server.intake.headers import scan


def kept_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return scan(headers).kept


def test_few_headers_are_kept_in_order() -> None:
    """Kept are content-type, user-agent, traceparent, x-* and webhook-*; repeated ones are joined in order."""
    names = [b"content-type", b"user-agent", b"traceparent", b"x-a", b"webhook-id"]
    others = [b"accept", b"host", b"authorization", b"cookie", b"traceparents", b"xa", b"svix-id", b"webhook"]
    found = kept_headers([(name, b"v") for name in names + others])
    assert list(found) == [name.decode() for name in names]
    assert kept_headers([(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]) == {"x-a": "1, 3", "x-b": "2"}


@pytest.mark.parametrize(
    "part",
    [
        "auth",
        "token",
        "secret",
        "sign",
        "hmac",
        "password",
        "cookie",
        "session",
        "credential",
        "api-key",
        "apikey",
        "access-key",
    ],
)
def test_secret_headers_never_kept(part: str) -> None:
    """A header whose name hints at a secret is not kept, wherever in the name the hint stands."""
    names = [f"x-{part}", f"x-a-{part}-b", f"x-my{part}s", f"webhook-{part}"]
    assert kept_headers([(name.encode(), b"v") for name in names]) == {}
    assert kept_headers([(b"x-convertmax-signature", b"0" * 64)]) == {}


def test_kept_headers_are_limited_in_size() -> None:
    """At most 32 headers and 8 KiB of names and values as received; what does not fit is left out."""
    many = [(b"x-%d" % index, b"v") for index in range(40)]
    assert list(kept_headers(many)) == [name.decode() for name, _ in many[:32]]
    assert kept_headers([*many[:32], (b"x-0", b"w")])["x-0"] == "v, w"
    assert kept_headers([(b"x-a", b"v" * 8189)]) == {"x-a": "v" * 8189}
    assert kept_headers([(b"x-a", b"v" * 8190), (b"x-b", b"v")]) == {"x-b": "v"}
    assert kept_headers([(b"x-a", b"v" * 8000), (b"x-a", b"w" * 188), (b"x-b", b"")]) == {"x-a": "v" * 8000, "x-b": ""}


def test_headers_in_any_bytes() -> None:
    """Values are UTF-8, or else Latin-1; names too are text that JSON can hold."""
    found = kept_headers([(b"x-a", "é".encode()), (b"x-b", b"\xe9"), (b"x-\xff", b"\xed\xa0\x80"), (b"x-d", b"\0")])
    assert found == {"x-a": "é", "x-b": "é", "x-ÿ": "í\xa0\x80", "x-d": "\0"}
    orjson.dumps(found)
