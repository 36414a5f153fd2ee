"""Clocks: a client may be slow, silent or deaf for as long as the limits say, and no longer.

Where a client must not be late the clock stands still but for the test's jumps; where it is to be late it runs.
"""

import os
import socket
import time
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from server.http.fast import event_loop
from tests.support.client import Raw, connected, request
from tests.support.http_server import (
    ACCEPTED,
    INGEST,
    TOKEN,
    FakeGate,
    OnAnswer,
    SomeLimits,
    admin_like_app,
    public_app,
    serving,
)
from tests.support.waiting import HANG_SECONDS

SOON = 0.2
POST = request("POST", INGEST, TOKEN, "Content-Length: 2")


@pytest.fixture
def clock(mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """A clock of both front ends that stands still but for the test's jumps."""
    monkeypatch.setattr(event_loop, "time", SimpleNamespace(monotonic=trio.current_time, time=time.time))
    return mock_clock


async def pass_time(clock: trio.testing.MockClock, raw: Raw, seconds: float) -> None:
    """Let so much time pass once the server has seen all that was sent."""
    await raw.all_has_arrived()
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("data", [request(), request("POST", INGEST, TOKEN, body=b"{}"), request("GET", "/nowhere")])
async def test_idle_connection_is_closed(data: bytes) -> None:
    """After an answer a connection lives for keep_alive_timeout_seconds, then it is closed without a word."""
    async with serving(SomeLimits(keep_alive_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        started = trio.current_time()
        await raw.send(data)
        await raw.reply()
        assert await raw.read_until_close() == b""
        assert trio.current_time() - started > SOON / 2


async def test_used_connection_is_kept(clock: trio.testing.MockClock) -> None:
    """The header clock of one request does not run on into the next ones, nor into the idle time between them."""
    async with serving(SomeLimits(header_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        for _ in range(3):
            await raw.send(request())
            assert (await raw.reply()).status == 200
            await pass_time(clock, raw, SOON * 0.75)


async def test_silent_connection_is_closed() -> None:
    """A connection on which nothing is ever sent is closed after header_timeout_seconds, without a word."""
    async with serving(SomeLimits(header_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        assert await raw.read_until_close() == b""
        assert server.observed == []


@pytest.mark.parametrize("first", [b"", request()])
async def test_a_slow_head_is_408(first: bytes, clock: trio.testing.MockClock) -> None:
    """A head that does not end in time is 408, on a new connection and on a used one."""
    async with serving(SomeLimits(header_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        await raw.send(first + b"GET /livez HTTP/1.1\r\nHost:")
        await pass_time(clock, raw, SOON * 2)
        *_, reply = await raw.replies_until_close()
        assert (reply.status, reply.code, reply.headers["connection"]) == (408, "timeout", "close")
        assert server.observed[-1] == (408, "timeout")


async def test_a_trickled_head_is_408(clock: trio.testing.MockClock) -> None:
    """A byte now and then does not stop the clock."""
    async with serving(SomeLimits(header_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        for byte in request()[:12]:
            await raw.send(bytes([byte]))
            await pass_time(clock, raw, SOON / 10)
        assert (await raw.reply()).status == 408


LATE = {
    "rest of a head": (POST[:-20], POST[-20:] + b"{}", 1),
    "rest of a body": (POST + b"{", b"}", 1),
    "next request": (POST + b"{}", POST + b"{}", 2),
    "next request in two pieces": (POST + b"{}" + POST, b"{}", 2),
}


@pytest.mark.parametrize("what", LATE)
async def test_a_late_server_refuses_nobody(what: str, clock: trio.testing.MockClock) -> None:
    """What came while the server itself was held up is in time, however late it is read.

    Which of the clock and the socket is seen first is a matter of chance, so there are many connections.
    """
    first, rest, answers = LATE[what]
    limits = SomeLimits(header_timeout_seconds=5, body_timeout_seconds=5, keep_alive_timeout_seconds=5)
    async with serving(limits) as server:
        for _ in range(20):
            async with connected(server.port) as raw:
                await raw.send(first)
                await pass_time(clock, raw, 0)
                os.write(raw.stream.socket.fileno(), rest)  # and the server has no turn before the clock jumps
                clock.jump(6)
                assert [(await raw.reply()).status for _ in range(answers)] == [200] * answers


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_a_slow_body_is_408(framing: str) -> None:
    """A body that does not end in time is 408, and gives its reservation back."""
    async with serving(SomeLimits(body_timeout_seconds=SOON)) as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, framing) + b"1\r\n1\r\n")
        [reply] = await raw.replies_until_close()
        assert (reply.status, reply.code, reply.headers["connection"]) == (408, "timeout", "close")
        assert (server.gate.bodies, server.gate.closed) == ([], 1)


async def test_waiting_for_a_turn_is_no_slow_body(clock: trio.testing.MockClock) -> None:
    """The body's time ends when all of it has come: what it then waits for, its turn or its commit, is ours."""
    held: list[OnAnswer] = []
    gate = FakeGate(on_submit=lambda _body, answer: held.append(answer))
    async with serving(SomeLimits(body_timeout_seconds=SOON), gate=gate) as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, body=b"{}"))
        while not held:
            await trio.testing.wait_all_tasks_blocked()
        await pass_time(clock, raw, SOON * 5)
        held[0](ACCEPTED)
        assert (await raw.reply()).status == 200


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
        await trio.lowlevel.wait_readable(raw.stream.socket)  # the answer has begun
        server.stop.set()
        with trio.fail_after(HANG_SECONDS):
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
