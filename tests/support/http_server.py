"""The HTTP server under test with a small fake gate behind it, and an application like the admin one."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from quart import Response

from server.base.refusal import UNAUTHORIZED, Refusal, refuse
from server.http.answer import Answer
from server.http.asgi.body import App
from server.http.asgi.routes import body_reader, build_public_app, quiet_quart, response
from server.http.fast.connection import FastConnection
from server.http.fast.event_loop import FastIntake
from server.http.fast.socket import STATES, FastSocket, State
from server.http.frontend import Denial, RefusedRequest
from server.http.head import RequestLine
from server.http.listener import serve
from server.intake.intake import DeliveryHead
from server.observe.refusals import Grounds
from tests.support import config
from tests.support.waiting import HANG_SECONDS, NEVER_SECONDS

ACCEPTED = Answer(200, b'{"status":"accepted"}')
TOKEN = "Authorization: Bearer good"
INGEST = "/ingest/inbound/demo"
NO_ROOM = refuse("overloaded", "no room")

OnAnswer = Callable[[Answer | Exception], None]


@dataclass(frozen=True)
class SomeLimits:
    """Long enough never to fire unless a test sets one."""

    connections_max: int = 100
    header_timeout_seconds: float = NEVER_SECONDS
    body_timeout_seconds: float = NEVER_SECONDS
    keep_alive_timeout_seconds: float = NEVER_SECONDS


@dataclass
class FakeGate:
    """Lets `Bearer good` in, takes bodies of at most `bytes_max`, and answers as `on_submit` does."""

    bytes_max: int = 1000
    full_for: int = 0
    """So many more times that somebody asks there is no room."""
    heads: list[DeliveryHead] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    grown: list[int] = field(default_factory=list)
    closed: int = 0
    on_submit: Callable[[bytes, OnAnswer], None] = lambda _body, answer: answer(ACCEPTED)

    def enter(self, head: DeliveryHead) -> "FakeEntry | Denial":
        self.heads.append(head)
        if head.authorization != b"Bearer good":
            return Denial(UNAUTHORIZED)
        if head.content_length is not None and head.content_length > self.bytes_max:
            return Denial(refuse("too_large", "too large by its head"), head.source_id)
        if self.full_for > 0:
            self.full_for -= 1
            return Denial(NO_ROOM, head.source_id, lacks_room=True)
        return FakeEntry(self)

    def handshake(self, _source_id: str, _query: bytes) -> Answer | None:
        return None

    def preflight(self, _source_id: str, _origin: bytes | None) -> Answer | None:
        return None

    def shared(self, answer: Answer, _source_id: str, _origin: bytes) -> Answer:
        return answer

    def submit_batch(self, requests: Sequence[FastConnection], _reply: object) -> Sequence[FastConnection]:
        return requests


class FakeEntry:
    """What a gate gives for a request that it let in."""

    def __init__(self, gate: FakeGate) -> None:
        self._gate = gate
        self._bytes = 0
        self.source_id = "demo"

    def grow(self, count: int) -> Refusal | None:
        self._gate.grown.append(count)
        self._bytes += count
        return refuse("too_large", "too large as it grew") if self._bytes > self._gate.bytes_max else None

    def submit(self, body: bytes, answer: OnAnswer) -> None:
        self._gate.bodies.append(body)
        self._gate.on_submit(body, answer)

    def grounds(self, refusal: Refusal) -> Grounds:
        return Grounds("demo", refusal.why, is_known=True)

    def close(self) -> None:
        self._gate.closed += 1


class FakeHealth:
    """Always well."""

    def live(self) -> bool:
        return True

    def ready(self) -> tuple[bool, Mapping[str, object]]:
        return True, {"ready": True}


@dataclass
class Server:
    """One listener under test, and what it told about itself."""

    port: int
    gate: FakeGate
    stop: trio.Event = field(default_factory=trio.Event)
    stopped: trio.Event = field(default_factory=trio.Event)
    observed: list[tuple[int, str]] = field(default_factory=list)
    senders: list[tuple[str, str]] = field(default_factory=list)
    """Of the refusals: address and source."""
    lines: list[RequestLine] = field(default_factory=list)
    """What is logged of them."""
    errors: list[BaseException] = field(default_factory=list)

    def accepted(self, count: int, seconds: float) -> None:
        assert seconds >= 0
        self.observed += [(200, "")] * count

    def observe(self, status: int, code: str, seconds: float, refused: RefusedRequest | None = None, /) -> None:
        assert seconds >= 0
        assert (refused is None) == (code == "")
        self.observed.append((status, code))
        if refused is not None:
            self.senders.append((refused.remote_addr, refused.source_id))
            self.lines.append(refused.line)


AppBuilder = Callable[[Server, SomeLimits], App]


def public_app(server: Server, limits: SomeLimits) -> App:
    """The real public application, the gate behind it faked."""
    return build_public_app(server.gate, FakeHealth(), server.observe, body_timeout_seconds=limits.body_timeout_seconds)


def admin_like_app(server: Server, limits: SomeLimits) -> App:
    """Like the admin one: a health route, a large answer, an endless one, a POST with a body, and one that fails."""
    app = quiet_quart(limits.body_timeout_seconds, server.observe)

    async def livez() -> Response:
        return response(Answer(200, b"{}"))

    async def large() -> Response:
        return response(Answer(200, b"x" * 50_000_000))

    async def fails() -> Response:
        raise ZeroDivisionError("ours")

    async def requeue() -> Response:
        body = await body_reader().read(lambda _count: None)
        assert isinstance(body, bytes)
        return response(Answer(200, body))

    app.add_url_rule("/livez", view_func=livez)
    app.add_url_rule("/large", view_func=large)
    app.add_url_rule("/fails", view_func=fails)
    app.add_url_rule("/requeue", view_func=requeue, methods=["POST"])
    return app


@contextmanager
def only_listed_states() -> Iterator[None]:
    """Fast connections go only where the table of their states lets them go."""
    enter = FastSocket._enter
    unlisted: list[tuple[State, State]] = []

    def noted(connection: FastSocket, state: State) -> None:
        before: State | None = getattr(connection, "state", None)
        if before is not None and state not in STATES[before].following:
            unlisted.append((before, state))
        enter(connection, state)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FastSocket, "_enter", noted)
        yield
    assert unlisted == []


@asynccontextmanager
async def serving(
    limits: SomeLimits | None = None, *, gate: FakeGate | None = None, build: AppBuilder = public_app
) -> AsyncIterator[Server]:
    """A server on a port of its own, drained at the end, within bounded time."""
    limits = limits or SomeLimits()
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = Server(sock.getsockname()[1], gate or FakeGate())

    async def run(task_status: Any) -> None:
        await serve(
            build(server, limits),
            [sock],
            limits,
            shutdown_trigger=server.stop.wait,
            fast=FastIntake(server.gate, (), server.accepted) if config.fast_lane and build is public_app else None,
            name="test",
            observe=server.observe,
            on_error=lambda _name, error: server.errors.append(error),
            task_status=task_status,
        )
        server.stopped.set()

    with only_listed_states():
        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            yield server
            server.stop.set()
            with trio.fail_after(HANG_SECONDS):
                await server.stopped.wait()
