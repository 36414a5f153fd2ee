"""Clocks: a client may be slow, silent or deaf for as long as the limits say, and no longer."""

import socket

import pytest
import trio

from tests.support.client import WAIT_SECONDS, connected, request
from tests.support.http_server import INGEST, TOKEN, SomeLimits, admin_like_app, public_app, serving

SOON = 0.2


@pytest.mark.parametrize("data", [request(), request("POST", INGEST, TOKEN, body=b"{}"), request("GET", "/nowhere")])
async def test_idle_connection_is_closed(data: bytes) -> None:
    """After an answer a connection lives for keep_alive_timeout_seconds, then it is closed without a word."""
    async with serving(SomeLimits(keep_alive_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        await raw.send(data)
        await raw.reply()
        started = trio.current_time()
        assert await raw.read_until_close() == b""
        assert trio.current_time() - started > SOON / 2


async def test_used_connection_is_kept() -> None:
    """The header clock of one request does not run on into the next ones, nor into the idle time between them."""
    async with serving(SomeLimits(header_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        for _ in range(3):
            await raw.send(request())
            assert (await raw.reply()).status == 200
            await trio.sleep(SOON * 0.75)


async def test_silent_connection_is_closed() -> None:
    """A connection on which nothing is ever sent is closed after header_timeout_seconds, without a word."""
    async with serving(SomeLimits(header_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        assert await raw.read_until_close() == b""
        assert server.observed == []


@pytest.mark.parametrize("first", [b"", request()])
async def test_slow_head(first: bytes) -> None:
    """A head that does not end in time is 408, on a new connection and on a used one."""
    async with serving(SomeLimits(header_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        await raw.send(first + b"GET /livez HTTP/1.1\r\nHost:")
        *_, reply = await raw.replies_until_close()
        assert (reply.status, reply.code, reply.headers["connection"]) == (408, "timeout", "close")
        assert server.observed[-1] == (408, "timeout")


async def test_trickled_head() -> None:
    """A byte now and then does not stop the clock."""
    async with (
        serving(SomeLimits(header_timeout_seconds=SOON)) as server,
        connected(server.port) as raw,
        trio.open_nursery() as nursery,
    ):

        async def trickle() -> None:
            for byte in request() * 10:
                await raw.send(bytes([byte]))
                await trio.sleep(0.02)

        nursery.start_soon(trickle)
        assert (await raw.reply()).status == 408
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_slow_body(framing: str) -> None:
    """A body that does not end in time is 408, and gives its reservation back."""
    async with serving(SomeLimits(body_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, framing) + b"1\r\n1\r\n")
        [reply] = await raw.replies_until_close()
        assert (reply.status, reply.code, reply.headers["connection"]) == (408, "timeout", "close")
        assert (server.gate.bodies, server.gate.closed) == ([], 1)


@pytest.fixture(params=["with the kernel's help", "alone"])
def deaf(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to notice a deaf client: the kernel's TCP_USER_TIMEOUT, and our own clock without it."""
    if request.param == "alone":
        monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)


@pytest.mark.usefixtures("deaf")
async def test_deaf_client_hangs_nothing() -> None:
    """A client that does not read its answer is cut off after the body's time, and shutdown does not wait for it."""
    limits = SomeLimits(body_timeout_seconds=SOON)
    async with (
        serving(limits, build=admin_like_app) as server,
        connected(server.port, receive_buffer_bytes=4096) as raw,
    ):
        await raw.send(request("GET", "/large"))
        first = await raw.stream.receive_some(100)  # the answer has begun
        assert first.startswith(b"HTTP/1.1 200")
        server.stop.set()
        with trio.fail_after(WAIT_SECONDS):
            await server.stopped.wait()
        with pytest.raises(trio.BrokenResourceError):  # a reset: nothing is left for the kernel to go on sending
            await raw.read_until_close()
        assert server.errors == []


@pytest.mark.usefixtures("deaf")
async def test_deaf_pipelining_client_hangs_nothing() -> None:
    """A client that sends requests and never reads stops being read itself, and is cut off."""
    limits = SomeLimits(body_timeout_seconds=SOON)
    async with (
        serving(limits, build=public_app) as server,
        connected(server.port, receive_buffer_bytes=4096) as raw,
    ):
        await raw.send_until_reset(request() * 1000)
        assert server.errors == []
