"""The client's address: the peer's, or what trusted proxies report."""

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from server.http.head import Header

Network = IPv4Network | IPv6Network
_IpAddress = IPv4Address | IPv6Address


def remote_address(peer: str, headers: Iterable[Header], trusted_proxies: Sequence[Network]) -> str:
    """Return the rightmost X-Forwarded-For address that is not a trusted proxy's, if a trusted proxy reported it.

    An entry that is not an address ends the chain: the proxy that reported it is returned. If all are trusted, the
    leftmost is. `headers` have lower-case names; a `peer` that is not an IP address is returned unchanged.
    """
    current, written = _peer(peer)
    if current is None or not trusted_proxies:
        return written
    chain = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    for entry in reversed(chain.split(b",")):
        if not _is_trusted(current, trusted_proxies):
            break
        earlier = _parse(entry.decode("latin-1").strip())
        if earlier is None:
            break
        current = earlier
    return str(current)


def peer_address(text: str) -> str:
    """Return a peer's address as it is written everywhere: IPv4 that came over IPv6 as IPv4."""
    return _peer(text)[1]


@lru_cache(maxsize=1024)
def _peer(text: str) -> tuple[_IpAddress | None, str]:
    """Return the address and its canonical text. Cached, since a peer recurs with each of its requests."""
    address = _parse(text)
    return address, text if address is None else str(address)


def _is_trusted(address: _IpAddress, trusted_proxies: Sequence[Network]) -> bool:
    return any(address in network for network in trusted_proxies)


def _parse(text: str) -> _IpAddress | None:
    """Parse an address with or without a port, IPv4-mapped IPv6 as IPv4; return None if it is not one."""
    try:
        return _unmapped(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        pass
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        host = text
    try:
        return _unmapped(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def _unmapped(address: _IpAddress) -> _IpAddress:
    return getattr(address, "ipv4_mapped", None) or address
