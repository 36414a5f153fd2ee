"""Bodies that are being read, on the running server: a source holds no more of them than leaves room for others."""

import socket
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from server.http.fast import event_loop
from server.http.frontend import HEAD_READ_BYTES, ROOM_SECONDS
from tests.support import config
from tests.support.client import Response, connected, request
from tests.support.config import TOKEN, source
from tests.support.http_server import INGEST, FakeGate, serving
from tests.support.http_server import TOKEN as FAKE_TOKEN
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually


def assert_overloaded(answer: Response) -> None:
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "overloaded", "5")


def begun(child: Child, length: int | None) -> socket.socket:
    """A request to `worked` that is let in, its body still to come; chunked where it has no length."""
    sock = socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS)
    body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = ("POST /ingest/inbound/worked HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}", body)
    sock.sendall("\r\n".join([*lines, "Expect: 100-continue", "", ""]).encode())
    assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
    return sock


def test_bodies_in_flight_are_bounded_by_source(children: Children) -> None:
    """A source takes room for bodies only while it holds less than is free."""
    limits = "[limits]\nbody_bytes_max = 1000\nin_flight_bytes_max = 1000\n"
    child = children(limits + source("worked") + source("archive"))
    child.start()
    body = b'{"text": "%s"}' % (b"x" * 600)
    with begun(child, len(body)) as busy:
        assert_overloaded(child.post("worked", b'{"id": 1}'))
        assert_overloaded(child.post("archive", b'"%s"' % (b"x" * 500)))
        assert child.post("archive", b'{"text": "%s"}' % (b"x" * 200)).status == 200
        busy.sendall(body)
        assert busy.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert child.post("worked", body).status == 200


def test_a_chunked_body_reserves_as_it_grows(children: Children) -> None:
    """A body of unknown length takes its room as it grows, and gives it back when its client goes away."""
    limits = "[limits]\nbody_bytes_max = 1000\nin_flight_bytes_max = 1000\n"
    child = children(limits + source("worked") + source("archive"))
    child.start()
    with begun(child, None) as busy:
        assert child.post("worked", b'{"id": 1}').status == 200
        busy.sendall(b"258\r\n" + b"x" * 0x258 + b"\r\n")
        eventually(lambda: child.post("worked", b'{"id": 1}').status == 503)
    eventually(lambda: child.post("worked", b'{"id": 1}').status == 200)


BODY = b"x" * 20_000
REQUEST = request("POST", INGEST, FAKE_TOKEN, f"Content-Length: {len(BODY)}") + BODY


@pytest.fixture
def clock(mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """A clock of both front ends that stands still."""
    monkeypatch.setattr(event_loop, "time", SimpleNamespace(monotonic=trio.current_time))
    return mock_clock


def run_while_all_wait(clock: trio.testing.MockClock) -> None:
    clock.autojump_threshold = 0.01


@pytest.mark.parametrize("full_for", [1, 2])
async def test_a_request_waits_for_room(full_for: int, clock: trio.testing.MockClock) -> None:
    """Where there is room again soon a request goes on as if there had been room at once, and so does the next."""
    run_while_all_wait(clock)
    gate = FakeGate(bytes_max=len(BODY), full_for=full_for)
    async with serving(gate=gate) as server, connected(server.port) as raw:
        for count in (1, 2):
            await raw.send(REQUEST)
            assert (await raw.reply()).status == 200
            assert gate.bodies == [BODY] * count
        assert (gate.full_for, gate.closed, server.observed) == (0, 2, [(200, "")] * 2)


async def test_room_is_waited_for_a_while(clock: trio.testing.MockClock) -> None:
    """Where there is no room for ROOM_SECONDS it is a 503, the connection's last answer."""
    run_while_all_wait(clock)
    gate = FakeGate(bytes_max=len(BODY), full_for=10**9)
    async with serving(gate=gate) as server, connected(server.port) as raw:
        started = trio.current_time()
        await raw.send(REQUEST)
        [reply] = await raw.replies_until_close()
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "overloaded", "5")
        assert trio.current_time() >= started + ROOM_SECONDS
        assert (server.observed, server.senders) == ([(503, "overloaded")], [("127.0.0.1", "demo")])


async def test_bodies_stay_unread_without_room(clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody waits for room the fast lane reads heads, and no bodies that it may have to refuse."""
    monkeypatch.setattr(config, "fast_lane", True)
    gate = FakeGate(bytes_max=len(BODY), full_for=2)
    async with serving(gate=gate) as server, connected(server.port) as first, connected(server.port) as second:
        for raw in (first, second):
            await raw.send(REQUEST)
            await raw.all_has_arrived()
            await trio.testing.wait_all_tasks_blocked()
        run_while_all_wait(clock)
        for raw in (first, second):
            assert (await raw.reply()).status == 200
        assert gate.bodies == [BODY] * 2
        assert min(gate.grown) <= HEAD_READ_BYTES
