"""The sockets of a configured address: of `[::]` one that takes IPv4 too, of `localhost` one for each of its addresses.

What the host lacks of these is left out with a log line, as long as one is left.
"""

import errno
import socket
from collections.abc import Sequence

from server.base import log
from server.config.values import Address

LACKING = {errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL}
"""A host without this family of addresses, or without this address."""

ANY, ANY_IPV4 = "::", "0.0.0.0"  # noqa: S104 - what the configuration says

PORT_ATTEMPTS_MAX = 10
"""Free ports tried if one has to be free at both addresses of localhost; each is very likely to be."""


def bind(address: Address) -> Sequence[socket.socket]:
    """Return bound sockets that do not listen yet, all at one port. Raises OSError, which names the address."""
    attempts = PORT_ATTEMPTS_MAX if address.port == 0 else 1
    while True:
        attempts -= 1
        try:
            return _bind_all(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempts == 0:
                raise OSError(f"cannot listen on {address}: {error.strerror}") from error


def _bind_all(address: Address) -> Sequence[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for host in address.hosts:
            _bind_if_there(host, address, bound)
        if not bound:
            bound.append(_bind(ANY_IPV4 if address.host == ANY else address.host, address.port))
    except OSError:
        for sock in bound:
            sock.close()
        raise
    return bound


def _bind_if_there(host: str, address: Address, bound: list[socket.socket]) -> None:
    """Add a socket at this host, at the port of those bound already; say so if the host lacks the address."""
    port = bound[0].getsockname()[1] if bound else address.port
    try:
        bound.append(_bind(host, port))
    except OSError as error:
        if error.errno not in LACKING or host == address.host != ANY:
            raise
        left_out = str(Address(host, address.port))
        log.get("tidegate").warning("an address is left out", address=left_out, error=error.strerror)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != ANY))
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
