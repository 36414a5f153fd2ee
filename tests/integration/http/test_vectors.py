"""Requests made to break servers: each gets its answer or none, and the server lives on, on either listener."""

from random import Random

import pytest
import trio

from tests.support.client import ask, connected, request
from tests.support.http_server import AppBuilder, admin_like_app, public_app, serving

HOST = b"Host: localhost\r\n"
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
WEBSOCKET = (
    b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
POST = b"POST /requeue HTTP/1.1\r\n" + HOST

VECTORS: dict[str, tuple[bytes, str]] = {
    "h2c upgrade with bad settings is ignored": (
        b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAA\r\n\r\n",
        "200",
    ),
    "h2c upgrade without settings is ignored": (
        b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "200",
    ),
    "HTTP/2 preface": (H2_PREFACE, "400"),
    "HTTP/2 preface with broken frames": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100, "400"),
    "websocket upgrade is ignored": (WEBSOCKET, "200"),
    "websocket upgrade and one more byte": (WEBSOCKET + b"\x81", "200"),
    "websocket upgrade and a frame": (WEBSOCKET + b"\x81\x85\x00\x00\x00\x00hello", "200"),
    "websocket upgrade without a key": (
        b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: WebSocket\r\n\r\n",
        "200",
    ),
    "CONNECT": (b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", "400"),
    "lower-case connect is a method like any": (b"connect /livez HTTP/1.1\r\n" + HOST + b"\r\n", "405"),
    "TRACE": (b"TRACE /livez HTTP/1.1\r\n" + HOST + b"\r\n", "405"),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "absolute form": (b"GET http://localhost/livez HTTP/1.1\r\n" + HOST + b"\r\n", "200"),
    "absolute form with a user": (b"GET HTTPS://u:p@a@[::1]:80/livez?x HTTP/1.1\r\n" + HOST + b"\r\n", "200"),
    "absolute form in HTTP/1.0": (b"GET http://localhost/livez HTTP/1.0\r\n\r\n", "200"),
    "absolute form without a path": (b"GET http://localhost?/livez HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "absolute form of two slashes": (b"GET http://localhost//livez HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "absolute form without a host": (b"GET http:///livez HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "absolute form of another scheme": (b"GET ftp://localhost/livez HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "absolute form that is no URL": (b"GET http://[/livez HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "target without a slash": (b"GET livez HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "target that is a query alone": (b"GET ?a HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "target of two slashes": (b"GET //livez HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "target with an authority": (b"GET //[::1/livez HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "target of bad percent codes": (b"GET /%zz%ff%00%0d%0a HTTP/1.1\r\n" + HOST + b"\r\n", "404"),
    "query of bad percent codes": (b"GET /livez?%ff%zz&&== HTTP/1.1\r\n" + HOST + b"\r\n", "200"),
    "target beyond ASCII": (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", "400"),
    "no target": (b"GET HTTP/1.1\r\n" + HOST + b"\r\n", "400"),
    "two spaces": (b"GET  /livez HTTP/1.1\r\n" + HOST + b"\r\n", "400"),
    "HTTP/0.9": (b"GET /livez\r\n\r\n", "400"),
    "HTTP/1.2": (b"GET /livez HTTP/1.2\r\n" + HOST + b"\r\n", "400"),
    "HTTP/9.9": (b"GET /livez HTTP/9.9\r\n" + HOST + b"\r\n", "400"),
    "lower-case protocol": (b"GET /livez http/1.1\r\n" + HOST + b"\r\n", "400"),
    "TLS client hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, "400"),
    "only NULs": (b"\x00" * 100, "400"),
    "only a line feed": (b"\n", "400"),
    "bare LF lines": (b"GET /livez HTTP/1.1\nHost: localhost\n\n", "400"),
    "bare LF in one line": (b"GET /livez HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", "400"),
    "bare CR in a value": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", "400"),
    "NUL in a value": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n", "400"),
    "NUL in a name": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X\x00: a\r\n\r\n", "400"),
    "folded line": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", "400"),
    "folded first line": (b"GET /livez HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n", "400"),
    "space before the colon": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n", "400"),
    "no colon": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X\r\n\r\n", "400"),
    "empty name": (b"GET /livez HTTP/1.1\r\n" + HOST + b": a\r\n\r\n", "400"),
    "values beyond ASCII": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: \xff\xfe\x80\r\nCookie: \xff=\xfe\r\n\r\n", "200"),
    "no Host": (b"GET /livez HTTP/1.1\r\n\r\n", "400"),
    "two Hosts": (b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n", "400"),
    "Host that is no host": (b"GET /livez HTTP/1.1\r\nHost: [\r\n\r\n", "400"),
    "Host with a long label": (b"GET /livez HTTP/1.1\r\nHost: " + b"a" * 300 + b".b..c\r\n\r\n", "200"),
    "Host with a space": (b"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
    "Host beyond ASCII": (b"GET /livez HTTP/1.1\r\nHost: \xff\xff\r\n\r\n", "400"),
    "empty Host": (b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n", "200"),
    "length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    "chunks and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400"),
    "differing lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"),
    "equal lengths": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "400"),
    "list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello", "400"),
    "negative length": (POST + b"Content-Length: -5\r\n\r\n", "400"),
    "signed length": (POST + b"Content-Length: +5\r\n\r\nhello", "400"),
    "length in hex": (POST + b"Content-Length: 0x5\r\n\r\nhello", "400"),
    "length of 5000 digits": (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", "400"),
    "empty length": (POST + b"Content-Length:\r\n\r\n", "400"),
    "unknown coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", "400"),
    "two codings": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"),
    "coding twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    "identity coding": (POST + b"Transfer-Encoding: identity\r\n\r\n", "400"),
    "chunks in HTTP/1.0": (
        b"POST /requeue HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    "too many header lines": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100 + b"\r\n", "431"),
    "too long a head": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 20000 + b"\r\n\r\n", "431"),
    "too long a target": (b"GET /" + b"y" * 20000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", "431"),
    "endless head": (b"GET /livez HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 20000, "431"),
    "unknown expectation is ignored": (b"GET /livez HTTP/1.1\r\n" + HOST + b"Expect: the-unexpected\r\n\r\n", "200"),
    "empty lines before the request": (b"\r\n\r\nGET /livez HTTP/1.1\r\n" + HOST + b"\r\n", "200"),
    "method that nobody knows": (b"BREW /livez HTTP/1.1\r\n" + HOST + b"\r\n", "405"),
    "HTTP/1.0 without Host": (b"GET /livez HTTP/1.0\r\n\r\n", "200"),
    "nothing": (b"", ""),
    "half a head": (b"GET /livez HT", "400"),
    "a lone CR": (b"\r", "400"),
}


@pytest.mark.parametrize("build", [public_app, admin_like_app])
@pytest.mark.parametrize("vector", VECTORS)
async def test_a_hostile_request_gets_its_status(build: AppBuilder, vector: str) -> None:
    """The request gets its status as JSON, the connection ends cleanly, and the next client is served."""
    data, status = VECTORS[vector]
    async with serving(build=build) as server:
        async with connected(server.port) as raw:
            await raw.send(data)
            await raw.send_eof()
            replies = await raw.replies_until_close()
        assert str(replies[0].status if replies else "") == status
        for reply in replies:
            assert reply.headers["content-type"] == "application/json"
            if reply.status >= 400:
                assert reply.code in {"invalid_request", "not_found", "method_not_allowed", "headers_too_large"}
        assert (await ask(server.port, request())).status == 200
        assert server.errors == []


@pytest.mark.parametrize("build", [public_app, admin_like_app])
async def test_all_vectors_on_one_server(build: AppBuilder) -> None:
    """One server lives through all of them, each twice in one piece, and in 60 single bytes and the rest."""
    async with serving(build=build) as server:
        for data, _ in VECTORS.values():
            async with connected(server.port) as raw:
                for index in range(min(60, len(data))):
                    await raw.send(data[index : index + 1])
                await raw.send(data[60:])
            async with connected(server.port) as raw:
                await raw.send(data)
                await raw.send(data)
        assert (await ask(server.port, request())).status == 200
        assert server.errors == []


@pytest.mark.parametrize("build", [public_app, admin_like_app])
async def test_mutated_requests_end_no_server(build: AppBuilder) -> None:
    """Hundreds of damaged, doubled and shuffled pieces of requests end no server and are nobody's error."""
    random = Random(7)
    pieces = [line + b"\r\n" for data, _ in VECTORS.values() for line in data[:400].split(b"\r\n")]
    async with serving(build=build) as server:
        for _ in range(400):
            data = bytearray(b"".join(random.choices(pieces, k=random.randrange(1, 8))))
            for _ in range(random.randrange(3)):
                data[random.randrange(len(data))] = random.randrange(256)
            good = request("POST", "/ingest/inbound/demo", "Authorization: Bearer good", body=b"{}")
            async with connected(server.port) as raw:
                await raw.send((good if random.random() < 0.5 else b"") + bytes(data) + b"\r\n\r\n")
                await raw.send_eof()
                replies = await raw.read_until_close()
            assert replies.startswith(b"HTTP/1.1 ") or not data.strip(b"\r\n")
            assert b"HTTP/1.1 5" not in replies
        assert (await ask(server.port, request())).status == 200
        assert server.errors == []


CHUNK_ERRORS = {
    "no size": b"\r\n",
    "size that is no number": b"x\r\n",
    "negative size": b"-1\r\n",
    "signed size": b"+1\r\na\r\n",
    "size in C": b"0x1\r\na\r\n",
    "size of 30 digits": b"1" * 30 + b"\r\n",
    "size with a space before": b" 1\r\na\r\n",
    "size line that ends in LF": b"1\na\r\n",
    "no CR LF after the data": b"1\r\nab\r\n0\r\n\r\n",
    "size line without an end": b"1;" + b"x" * 70000,
    "trailer that is malformed": b"0\r\n\x00\r\n\r\n",
    "trailers without an end": b"0\r\n" + b"X: y\r\n" * 20000,
    "end of the stream in a chunk": b"5\r\nab",
    "end of the stream between chunks": b"1\r\na\r\n",
}


@pytest.mark.parametrize("error", CHUNK_ERRORS)
async def test_malformed_chunks_are_400(error: str) -> None:
    """A body whose chunks are malformed or cut off is 400, is not taken, and gives its reservation back."""
    head = request("POST", "/ingest/inbound/demo", "Authorization: Bearer good", "Transfer-Encoding: chunked")
    async with serving() as server:
        async with connected(server.port) as raw:
            await raw.send(head + CHUNK_ERRORS[error])
            await raw.send_eof()
            [reply] = await raw.replies_until_close()
        assert (reply.status, reply.code) == (400, "invalid_request")
        assert reply.headers["connection"] == "close"
        assert (server.gate.bodies, server.gate.closed, server.errors) == ([], 1, [])


async def test_failing_application_is_contained() -> None:
    """An exception in the application closes its connection unanswered, is reported once, and ends nothing else."""
    async with serving(build=admin_like_app) as server:
        async with connected(server.port) as neighbour:
            async with connected(server.port) as raw:
                await raw.send(request("GET", "/fails"))
                with pytest.raises((trio.BrokenResourceError, EOFError)):
                    await raw.reply()
            await neighbour.send(request())
            assert (await neighbour.reply()).status == 200
        [error] = server.errors
        assert "ours" in repr(error)
