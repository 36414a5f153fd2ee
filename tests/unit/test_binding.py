"""Which sockets a configured address becomes, also on a host that lacks some of it."""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from server.config.values import Address
from server.runtime.binding import bind
from tests.support.ipv6 import needs_ipv6


@contextmanager
def bound(host: str, port: int = 0) -> Iterator[Sequence[socket.socket]]:
    sockets = bind(Address(host, port))
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


@pytest.fixture
def no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address of IPv6 can be bound."""
    real = socket.socket.bind

    def only_ipv4(sock: socket.socket, address: tuple[str, int]) -> None:
        if sock.family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        real(sock, address)

    monkeypatch.setattr(socket.socket, "bind", only_ipv4)


@needs_ipv6
def test_localhost_is_both_its_addresses() -> None:
    """At one port, also where that is any free one."""
    with bound("localhost") as sockets:
        names = [sock.getsockname()[:2] for sock in sockets]
    assert [host for host, _ in names] == ["127.0.0.1", "::1"]
    assert len({port for _, port in names}) == 1


@needs_ipv6
def test_a_port_must_be_free_at_both() -> None:
    """A port that is free at one address only is not taken: another is, or the error names the address."""
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on localhost:{port}: "):
            bind(Address("localhost", port))
        with socket.socket() as free:
            free.bind(("127.0.0.1", port))  # whatever was bound there is closed again


@pytest.mark.parametrize(("host", "left"), [("localhost", "127.0.0.1"), ("::", "0.0.0.0")])  # noqa: S104
def test_a_family_that_is_lacking(no_ipv6: None, host: str, left: str) -> None:
    """What the host has of the address is bound."""
    with bound(host) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == [left]


def test_an_address_that_is_lacking(no_ipv6: None) -> None:
    """An address alone that the host lacks is an error that names it."""
    with pytest.raises(OSError, match=r"cannot listen on \[::1\]:0: "):
        bind(Address("::1", 0))
