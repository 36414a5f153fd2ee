"""Ingest and health as a client on a raw socket sees them."""

from ipaddress import ip_network

import pytest

from server.http.asgi.body import App
from server.http.asgi.routes import build_public_app, quiet_quart
from tests.support.client import ask, connected, request
from tests.support.http_server import INGEST, TOKEN, FakeGate, FakeHealth, Server, SomeLimits, serving


async def test_body_reaches_the_gate() -> None:
    """The gate gets what the head says, headers in the order sent, then the body byte for byte; and is closed."""
    headers = (TOKEN, "X-B: 1", "x-a: \xff", "X-B: 2")
    async with serving() as server:
        reply = await ask(server.port, request("POST", INGEST, *headers, body=b'{"a":1}'))
        assert (reply.status, reply.body) == (200, b'{"status":"accepted"}')
        assert "connection" not in reply.headers
        [head] = server.gate.heads
        assert (head.source_id, head.authorization, head.content_length) == ("demo", b"Bearer good", 7)
        assert head.remote_addr == "127.0.0.1"
        assert list(head.scanned.kept.items()) == [("x-b", "1, 2"), ("x-a", "\xff")]
        assert (server.gate.bodies, server.gate.closed) == ([b'{"a":1}'], 1)
        assert server.observed == [(200, "")]


@pytest.mark.parametrize(
    "target",
    [
        "/ingest/inbound/demo/",
        "/ingest/inbound/",
        "/ingest/inbound",
        "//ingest/inbound/demo",
        "/ingest//inbound/demo",
        "/ingest/inbound//demo",
        "/ingest/./inbound/demo",
        "/ingest/x/../inbound/demo",
        "/ingest/inbound/%64emo",
        "/ingest%2Finbound/demo",
        "/ingest/inbound/demo%00",
        "/ingest/inbound/demo;a=b",
        "/ingest/inbound/de.mo",
        "/ingest/inbound/" + "a" * 65,
        "/Ingest/inbound/demo",
        "/ingest/inbound/demo|x",
        "http:///ingest/inbound/demo",
        "http:/ingest/inbound/demo",
        "ftp://localhost/ingest/inbound/demo",
        "http://localhost//ingest/inbound/demo",
        "http://local host/ingest/inbound/demo".replace(" ", "|"),
        "/",
        "/static/x",
    ],
)
async def test_other_spellings_are_no_route(target: str) -> None:
    """Only the exact bytes of the route match: every other spelling is 404, without a redirect, before the gate."""
    async with serving() as server:
        reply = await ask(server.port, request("POST", target, TOKEN, body=b"{}"))
        assert (reply.status, reply.code, server.gate.heads) == (404, "not_found", [])
        assert server.observed == [(404, "not_found")]


@pytest.mark.parametrize(
    "start",
    [
        "http://localhost",
        "https://any.example:8443",
        "HTTP://u:p@a@h",
        "Https://[::1]:80",
        "http://127.0.0.1",
        "http://h:",
    ],
)
async def test_absolute_form_is_its_path(start: str) -> None:
    """A target in absolute form is taken as its path, whatever its authority and beside whatever Host."""
    async with serving() as server:
        reply = await ask(server.port, request("POST", f"{start}{INGEST}?a=http://b/", TOKEN, body=b"{}"))
        assert (reply.status, server.gate.heads[0].source_id) == (200, "demo")


async def test_a_query_changes_nothing() -> None:
    """A query changes nothing, whatever it holds."""
    async with serving() as server:
        reply = await ask(server.port, request("POST", INGEST + "?a=/../%2F%ff&b", TOKEN, body=b"{}"))
        assert (reply.status, server.gate.heads[0].source_id) == (200, "demo")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "post"])
async def test_a_wrong_method_names_the_right_one(method: str) -> None:
    """Any other method on the ingest route is 405 and names the right one."""
    async with serving() as server:
        reply = await ask(server.port, request(method, INGEST, TOKEN))
        assert (reply.status, reply.code, reply.headers["allow"]) == (405, "method_not_allowed", "POST")


async def test_head_answers_without_a_body() -> None:
    """HEAD answers as GET would, without the body, and the connection goes on in step."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("HEAD") + request("HEAD", "/nowhere") + request("HEAD", INGEST) + request())
        statuses = [(await raw.reply(is_head=True)).status for _ in range(3)]
        last = await raw.reply()
        assert (statuses, last.status, last.body) == ([200, 404, 405], 200, b'{"status":"live"}')


async def test_health_answers_on_the_public_side() -> None:
    """Both health routes answer on the public listener."""
    async with serving() as server:
        assert (await ask(server.port, request("GET", "/livez"))).body == b'{"status":"live"}'
        assert (await ask(server.port, request("GET", "/readyz"))).body == b'{"ready":true}'


async def test_answer_on_the_wire() -> None:
    """An answer is plain HTTP/1.1: a status line with its words, a length, a date, JSON."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("GET", "/nowhere"))
        await raw.send_eof()
        head, _, body = (await raw.read_until_close()).partition(b"\r\n\r\n")
        status, *headers = head.split(b"\r\n")
        assert (status, body) == (b"HTTP/1.1 404 Not Found", b'{"code":"not_found","message":"no such route"}')
        names = {line.partition(b":")[0] for line in headers}
        assert names == {b"content-type", b"content-length", b"date"}


async def test_two_authorizations_are_none() -> None:
    """A request with two Authorization headers has no token: which of them would count is anybody's guess."""
    async with serving() as server:
        reply = await ask(server.port, request("POST", INGEST, TOKEN, TOKEN, body=b"{}"))
        assert (reply.status, server.gate.heads[0].authorization) == (401, None)


async def test_a_trusted_proxy_names_the_client() -> None:
    """Behind a trusted proxy the remote address is the one that it reports."""

    def build(server: Server, limits: SomeLimits) -> App:
        return build_public_app(
            server.gate,
            FakeHealth(),
            server.observe,
            body_timeout_seconds=limits.body_timeout_seconds,
            trusted_proxies=[ip_network("127.0.0.0/8")],
        )

    async with serving(build=build) as server:
        await ask(server.port, request("POST", INGEST, TOKEN, "X-Forwarded-For: 8.8.8.8, 9.9.9.9", body=b"{}"))
        assert server.gate.heads[0].remote_addr == "9.9.9.9"


async def test_http_1_0_is_answered_and_closed() -> None:
    """An HTTP/1.0 client gets its answer, and the connection is closed after it."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, "Connection: keep-alive", body=b"{}", version="1.0"))
        [reply] = await raw.replies_until_close()
        assert (reply.status, reply.headers["connection"]) == (200, "close")


async def test_answers_name_no_software(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed about requests, good or bad, and no header names the software."""
    async with serving(gate=FakeGate()) as server:
        good = await ask(server.port, request("POST", INGEST, TOKEN, body=b"{}"))
        bad = await ask(server.port, b"\x00")
    assert not {"server", "alt-svc"} & (good.headers.keys() | bad.headers.keys())
    assert capfd.readouterr() == ("", "")


def test_quart_has_no_clocks_of_its_own() -> None:
    """Quart's own time and size limits are off: one set of limits is in force, ours."""
    config = quiet_quart(1, lambda *_: None).config
    assert [config[key] for key in ("BODY_TIMEOUT", "RESPONSE_TIMEOUT", "MAX_CONTENT_LENGTH")] == [None] * 3


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (request("POST", INGEST, body=b"{}"), "unauthorized"),
        (request("GET", "/nothing"), "not_found"),
        (b"nonsense\r\n\r\n", "invalid_request"),
    ],
)
async def test_a_refusal_names_its_sender(sent: bytes, code: str) -> None:
    """Whoever observes the answers hears from where each refused request came."""
    async with serving() as server:
        assert (await ask(server.port, sent)).code == code
        assert server.senders == [("127.0.0.1", "")]
