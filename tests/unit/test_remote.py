"""The remote address behind proxies, trusted and not."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.http.remote import remote_address

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.9.9.9"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4 ,10.9.9.9"], "1.2.3.4"),
        ("10.0.0.1", ["10.2.2.2, 10.3.3.3"], "10.2.2.2"),
        ("10.0.0.1", ["6.6.6.6, evil, 10.3.3.3"], "10.3.3.3"),
        ("10.0.0.1", ["6.6.6.6, "], "10.0.0.1"),
        ("10.0.0.1", ["\xff"], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4:567"], "1.2.3.4"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]:567"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:DB8::1]"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:10.2.2.2"], "10.2.2.2"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("fd00::1", ["1.2.3.4"], "1.2.3.4"),
        ("fe80::1%eth0", ["1.2.3.4"], "fe80::1"),
        ("8.8.8.8", ["1.2.3.4"], "8.8.8.8"),
        ("unix", ["1.2.3.4"], "unix"),
    ],
)
def test_the_rightmost_untrusted_address_counts(peer: str, forwarded: list[str], expected: str) -> None:
    """The rightmost address that no trusted proxy owns counts, if trusted ones vouch for it all the way."""
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    assert remote_address(peer, [(b"host", b"9.9.9.9"), *headers], TRUSTED) == expected


def test_nobody_is_trusted_by_default() -> None:
    """Without trusted proxies the header is not looked at."""
    assert remote_address("10.0.0.1", [(b"x-forwarded-for", b"1.2.3.4")], []) == "10.0.0.1"


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_header_gives_an_address(values: list[bytes]) -> None:
    """Whatever the header holds, an address comes out."""
    assert remote_address("10.0.0.1", [(b"x-forwarded-for", value) for value in values], TRUSTED)
