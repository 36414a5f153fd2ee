"""Whose request it is: the peer's address, or what trusted proxies say about it."""

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from server.intake.intake import Head

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def remote_address(peer: str, headers: Iterable[tuple[bytes, bytes]], trusted_proxies: Sequence[Network]) -> str:
    """The rightmost X-Forwarded-For address that is not a trusted proxy's, as long as a trusted one vouches for it.

    An entry that is no address ends the chain: the proxy that reported it is the answer. Where all are trusted, the
    leftmost is. `headers` are lower-case pairs; `peer` is returned as it is where it is no IP address.
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


def sender(head: Head) -> tuple[str, str]:
    """Whose request this is, for the log: the address, and the source that its token is right for, or ""."""
    return head.remote_addr, head.source_id if head.is_authenticated else ""


@lru_cache(maxsize=1024)
def _peer(text: str) -> tuple[Address | None, str]:
    """The address and how it is written; remembered, since peers come again with each of their requests."""
    address = _parse(text)
    return address, text if address is None else str(address)


def _is_trusted(address: Address, trusted_proxies: Sequence[Network]) -> bool:
    return any(address in network for network in trusted_proxies)


def _parse(text: str) -> Address | None:
    """An address, with or without a port, IPv4-mapped IPv6 as the IPv4 it is; None if it is none."""
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


def _unmapped(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address
