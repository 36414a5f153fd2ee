"""Many connections, full listeners, and the end of serving."""

import errno
import os
import socket
from collections.abc import Callable

import pytest
import trio
import trio.testing

from server.http.answer import Answer
from server.http.asgi import hypercorn
from server.http.asgi.connection import Connection
from server.http.frontend import Listener
from server.http.head import RequestHead
from tests.support.client import Raw, ask, connected, request
from tests.support.http_server import ACCEPTED, INGEST, TOKEN, FakeGate, SomeLimits, serving
from tests.support.waiting import HANG_SECONDS

KNOWN = request("POST", INGEST, TOKEN, body=b"{}")
STRANGER = request()


class HeldGate(FakeGate):
    """Answers when the test says so."""

    def __init__(self) -> None:
        super().__init__(on_submit=self._hold)
        self.waiting: list[Callable[[Answer], None]] = []
        self.submitted = trio.Event()

    def _hold(self, _body: bytes, answer: Callable[[Answer], None]) -> None:
        self.waiting.append(answer)
        self.submitted.set()

    async def wait_submitted(self) -> None:
        with trio.fail_after(HANG_SECONDS):
            await self.submitted.wait()


async def test_full_strangers_go_first() -> None:
    """When all places are taken an idle stranger leaves for the new one, even if a known sender is idle for longer."""
    async with serving(SomeLimits(connections_max=2)) as server, connected(server.port) as known:
        await _introduce(known)
        async with connected(server.port) as stranger:
            await stranger.send(STRANGER)
            assert (await stranger.reply()).status == 200
            assert (await ask(server.port, STRANGER)).status == 200
            assert await stranger.read_until_close() == b""
            await _introduce(known)


async def _introduce(raw: Raw) -> None:
    await raw.send(KNOWN)
    assert (await raw.reply()).status == 200


async def test_full_longest_idle_goes_next() -> None:
    """Among known senders the one that is idle for the longest time leaves."""
    async with serving(SomeLimits(connections_max=2)) as server, connected(server.port) as first:
        await _introduce(first)
        async with connected(server.port) as second:
            await _introduce(second)
            await _introduce(first)
            async with connected(server.port) as third:
                await _introduce(third)
                assert await second.read_until_close() == b""
                await _introduce(first)


async def test_full_of_work_refuses_the_new_one() -> None:
    """Where every connection has a request in hand the new one is told so, and those in hand are finished."""
    gate = HeldGate()
    async with serving(SomeLimits(connections_max=1), gate=gate) as server, connected(server.port) as busy:
        await busy.send(KNOWN)
        await gate.wait_submitted()
        async with connected(server.port) as new:
            [reply] = await new.replies_until_close()
            assert (reply.status, reply.code) == (503, "overloaded")
            assert "retry-after" in reply.headers
        gate.waiting[0](ACCEPTED)
        assert (await busy.reply()).status == 200
        assert (503, "overloaded") in server.observed


async def test_slow_heads_take_no_places() -> None:
    """Any number of clients that begin a request and never end it keep nobody out."""
    async with serving(SomeLimits(connections_max=5)) as server, trio.open_nursery() as nursery:

        async def linger() -> None:
            async with connected(server.port) as raw:
                await raw.send(b"POST /ingest/inbound/demo HTTP/1.1\r\nHost: x\r\n")
                await trio.sleep_forever()

        for _ in range(20):
            nursery.start_soon(linger)
        assert (await ask(server.port, KNOWN)).status == 200
        nursery.cancel_scope.cancel()


async def test_drain_closes_idle_connections_at_once() -> None:
    """Idle connections, new, used or with half a head, do not hold up the end for a moment."""
    async with (
        serving() as server,
        connected(server.port) as used,
        connected(server.port) as half,
        connected(server.port) as fresh,
    ):
        await used.send(STRANGER)
        await used.reply()
        await half.send(b"GET /")
        await fresh.send(b"")
        server.stop.set()
        with trio.fail_after(HANG_SECONDS):  # far below each of the limits in force
            await server.stopped.wait()
        assert await used.read_until_close() == b""


async def test_drain_finishes_requests_in_hand() -> None:
    """While draining nothing new is accepted; a request in hand is answered, told to close, and then serving ends."""
    gate = HeldGate()
    async with serving(gate=gate) as server, connected(server.port) as busy:
        await busy.send(KNOWN + KNOWN)
        await gate.wait_submitted()
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="efused"):
            async with connected(server.port):
                pass
        assert not server.stopped.is_set()
        gate.waiting[0](ACCEPTED)
        [reply] = await busy.replies_until_close()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await busy.stream.aclose()
        with trio.fail_after(HANG_SECONDS):
            await server.stopped.wait()
        assert len(gate.bodies) == 1


async def test_drain_reads_a_body_in_hand() -> None:
    """A request whose body is still coming when the drain begins is read to its end and answered."""
    async with serving() as server, connected(server.port) as raw:
        await raw.send(request("POST", INGEST, TOKEN, "Expect: 100-continue", "Content-Length: 2"))
        assert (await raw.reply()).status == 100
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        await raw.send(b"{}")
        assert [reply.status for reply in await raw.replies_until_close()] == [200]


async def test_machine_out_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process may open no more files an idle connection makes room, and the server goes on accepting."""
    failures = [errno.EMFILE, errno.ENFILE]
    accept = socket.socket._accept  # type: ignore[attr-defined]

    def sometimes(self: socket.socket) -> object:
        if failures:
            raise OSError(failures.pop(), "out of files")
        return accept(self)

    async with serving() as server, connected(server.port) as idle:
        await idle.send(STRANGER)
        await idle.reply()
        monkeypatch.setattr(socket.socket, "_accept", sometimes)
        assert (await ask(server.port, STRANGER)).status == 200
        assert await idle.read_until_close() == b""
        assert failures == []


async def test_other_hypercorn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of Hypercorn than the one that the tests have passed with ends the start."""
    monkeypatch.setattr(hypercorn, "VERSION", "0.0.0")
    with pytest.raises(RuntimeError, match="hypercorn"):
        hypercorn.check_version()


async def test_kernel_gives_up_on_deaf_clients() -> None:
    """Accepted sockets inherit a TCP_USER_TIMEOUT, so that a closed connection does not stay in the kernel for ever."""
    async with serving(SomeLimits(body_timeout_seconds=30)) as server:
        seen: list[int] = []
        accept = socket.socket._accept  # type: ignore[attr-defined]

        def spy(self: socket.socket) -> object:
            file, address = accept(self)
            with socket.socket(fileno=os.dup(file)) as accepted:
                seen.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
            return file, address

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "_accept", spy)
            await ask(server.port, STRANGER)
            await ask(server.port, STRANGER)
        assert set(seen) == {30000}


class EvictedWhileReading(Connection):
    """Is sent away in the very step in which its request comes."""

    async def read(self) -> bytes:
        data = await super().read()
        self.stop_waiting()
        return data


@pytest.mark.parametrize("how", ["evicted while reading", "evicted after the answer", "drained after the answer"])
async def test_no_request_is_begun_too_late(how: str) -> None:
    """A connection that was given away, or whose listener ends, takes up no other request, even one that is there."""
    served = 0

    async def exchange(connection: Connection, head: RequestHead) -> bool:
        nonlocal served
        served += 1
        del connection.received[: len(head.raw)]
        connection.on_answer_sent()
        if how == "evicted after the answer":
            assert listener.connections.evict()
        elif how == "drained after the answer":
            listener.is_draining = True
        return True

    listener = Listener(SomeLimits(), lambda *_: None, lambda _error: None)
    [socket_listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with socket_listener, connected(socket_listener.socket.getsockname()[1]) as raw:
        stream = await socket_listener.accept()
        await raw.send(STRANGER * 2)
        await raw.send_eof()
        with trio.fail_after(HANG_SECONDS):
            await (EvictedWhileReading if how == "evicted while reading" else Connection)(
                listener, exchange, stream
            ).run()
    assert served == (0 if how == "evicted while reading" else 1)
    assert len(listener.connections) == 0
