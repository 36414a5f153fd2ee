"""A server at every address that its configuration means, and what it calls those who come over IPv6."""

import socket

import pytest

from tests.support.client import ask_once
from tests.support.config import TOKEN, source
from tests.support.ipv6 import needs_ipv6
from tests.support.server import Child, Children

DEMO = source("demo", processor="processors:always_fails", processor_attempts_max=1)
BOTH = ("127.0.0.1", "::1")


def start(children: Children, host: str, server_keys: str = "", *, fast: bool = True) -> Child:
    """A server with both sides at this host."""
    child = children(DEMO, server_keys=server_keys, fast=fast)
    child.config.write_text(child.config.read_text().replace("127.0.0.1:0", f"{host}:0"))
    child.start()
    return child


def status_at(host: str, port: int, path: str) -> int:
    with socket.create_connection((host, port)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return int(b"".join(iter(lambda: sock.recv(65536), b"")).split()[1])


@needs_ipv6
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("host", ["localhost", "[::]"])
def test_both_families_reach_both_sides(children: Children, host: str, fast: bool) -> None:
    """Over IPv4 and IPv6, either front end; the line `ready` names every address, and commands find the server."""
    child = start(children, host, 'admin_token = "an-admin-token"' if host == "[::]" else "", fast=fast)
    for family in BOTH:
        assert status_at(family, child.port, "/livez") == status_at(family, child.admin_port, "/livez") == 200
    line = child.wait_for_line("ready")
    expected = ["[::]"] if host == "[::]" else ["127.0.0.1", "[::1]"]
    for said, port in ((line["ingest"], child.port), (line["admin"], child.admin_port)):
        assert [url.split("/")[2] for url in said.split(", ")] == [f"{each}:{port}" for each in expected]
    text = child.config.read_text()
    text = text.replace(f'\nbind = "{host}:0"', f'\nbind = "{host}:{child.port}"')
    child.config.write_text(text.replace(f'admin_bind = "{host}:0"', f'admin_bind = "{host}:{child.admin_port}"'))
    assert child.cli("send", "demo").returncode == 0
    assert child.cli("requeue", "demo", "--all").returncode == 0


@needs_ipv6
@pytest.mark.parametrize("fast", [True, False])
def test_mapped_addresses_are_those_of_ipv4(children: Children, fast: bool) -> None:
    """Who comes over IPv4 to `[::]` has an IPv4 address: in refusals, in events, and among trusted proxies."""
    keys = 'admin_token = "an-admin-token"\ntrusted_proxies = ["127.0.0.1/32"]'
    child = start(children, "[::]", keys, fast=fast)
    with socket.create_connection(("127.0.0.1", child.port)) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 400")
    assert child.wait_for_line("refused")["remote_addr"] == "127.0.0.1"
    for forwarded, expected in (("::ffff:192.0.2.7", "192.0.2.7"), ("", "127.0.0.1")):
        body = f'{{"inbound_event_id": "{expected}"}}'.encode()
        headers = {"authorization": f"Bearer {TOKEN}", "x-forwarded-for": forwarded}
        assert ask_once(child.port, "POST", "/ingest/inbound/demo", body, headers).status == 200
        event = child.cli("event", "demo", expected).stdout
        assert f'"remote_addr":"{expected}"' in event.replace(" ", "")
