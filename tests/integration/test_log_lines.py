"""What the log of a running server says about its senders and their events, and what it never says."""

import socket

import pytest

from tests.support.client import item
from tests.support.config import source
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

DEMO = source("demo")


def refused(child: Child, code: str) -> dict[str, object]:
    """The last line about a refusal with this code."""
    eventually(lambda: any(line["code"] == code for line in child.lines_of("refused")))
    return [line for line in child.lines_of("refused") if line["code"] == code][-1]


def test_a_refusal_names_address_and_source(children: Children) -> None:
    """The source is named only for a sender whose token is right for it; the address is the proxies' client."""
    child = children(DEMO, server_keys='trusted_proxies = ["127.0.0.1/32"]')
    child.start()
    client = {"X-Forwarded-For": "192.0.2.7"}
    assert child.post("demo", b"{", headers=client).status == 400
    line = refused(child, "invalid_json")
    assert (line["remote_addr"], line["source"], line["suppressed"]) == ("192.0.2.7", "demo", 0)
    assert child.post("demo", item("a"), headers=client, token="guessed").status == 401
    line = refused(child, "unauthorized")
    assert (line["remote_addr"], "source" in line) == ("192.0.2.7", False)
    assert child.request("GET", "/nothing", headers=client).status == 404
    assert refused(child, "not_found")["remote_addr"] == "192.0.2.7"


@pytest.mark.parametrize("fast", [True, False])
def test_a_refusal_names_method_and_path(children: Children, fast: bool) -> None:
    """On either front end and either side: what was asked for, without query and authority; malformed HTTP has none."""
    child = children(DEMO, server_keys='admin_token = "an-admin-token"', fast=fast)
    child.start()
    child.post("demo?writeKey=secret", b"{", token="guessed")
    assert asked(child, "unauthorized") == ("POST", "/ingest/inbound/demo")
    child.post("demo?writeKey=secret", b"{")
    assert asked(child, "invalid_json") == ("POST", "/ingest/inbound/demo")
    child.request("PUT", "/ingest/inbound/demo?writeKey=secret")
    assert asked(child, "method_not_allowed") == ("PUT", "/ingest/inbound/demo")
    child.request("GET", "http://secret/no%0athing?secret")
    assert asked(child, "not_found") == ("GET", "/no%0athing")
    for sent, code, line in (
        (b"POST /ingest/inbound/demo?secret HTTP/1.1\r\n" + b"a: b\r\n" * 200, "headers_too_large", True),
        (b"secret\r\n\r\n", "invalid_request", False),
    ):
        with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
            sock.sendall(sent)
            assert sock.recv(65536).startswith(b"HTTP/1.1 4")
        assert asked(child, code) == (("POST", "/ingest/inbound/demo") if line else (None, None))
    assert "secret" not in str(child.lines)


def test_the_admin_side_names_them_too(children: Children) -> None:
    """Who has a wrong admin token is logged with address, method and path."""
    child = children(DEMO, server_keys='admin_token = "an-admin-token"')
    child.start()
    assert child.admin("/sources?secret").status == 401
    line = refused(child, "unauthorized")
    assert (line["method"], line["path"], line["remote_addr"]) == ("GET", "/sources", "127.0.0.1")
    assert "secret" not in str(child.lines)


def asked(child: Child, code: str) -> tuple[object, object]:
    line = refused(child, code)
    return line.get("method"), line.get("path")


def test_a_removed_source_is_not_named(children: Children) -> None:
    """A head that was let in before is a stranger's when its source is gone."""
    child = children(DEMO + source("other"))
    child.start()
    with child.session() as session:
        assert session.post("demo", item("a")).status == 200
        child.write(source("other"))
        child.reload()
        assert session.post("demo", item("a")).status == 401
    assert "source" not in refused(child, "unauthorized")


def test_deaths_and_limits_are_said(children: Children) -> None:
    """A dead event and a rate limit that is reached have their lines; /sources says when the last error was."""
    limit = {"rate_limit_events_per_second": 0.001, "over_limit": "drop"}
    child = children(
        source("fails", processor="processors:always_fails", processor_attempts_max=1) + source("drops", **limit)
    )
    child.start()
    assert child.post("drops", [item("a"), item("b"), item("c")]).json["dropped"] == 2
    line = child.wait_for_line("over the rate limit")
    assert (line["source"], line["mode"], line["count"]) == ("drops", "drop", 2)
    sources = child.admin("/sources").json["sources"]
    assert {each["since_start"]["last_error_at"] for each in sources} == {None}
    child.post("fails", item("a"))
    line = child.wait_for_line("event died")
    assert (line["source"], line["kind"]) == ("fails", "ValueError")
    [fails] = [each for each in child.admin("/sources").json["sources"] if each["id"] == "fails"]
    assert fails["since_start"]["last_error_at"].endswith("Z")
