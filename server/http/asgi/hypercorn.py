"""The use of Hypercorn: one request on a connection, from its head to its answer, served by an ASGI application.

Used are its state machines of ASGI (HTTPStream) and HTTP/1.1 (H11Protocol). Its server, reader, lifespan, HTTP/2 and
WebSocket are not: an exception on one connection ends its whole server, its connections do not time out after a Quart
response, its shutdown waits a fixed time, and h2c cannot be switched off.
"""

import importlib.metadata
import sys
from typing import Any, cast

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Event as ConnectionEvent
from hypercorn.events import RawData
from hypercorn.protocol.events import EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup

from server.base.refusal import refuse
from server.http.answer import CHUNKED, CONTINUE, encode_head
from server.http.asgi.body import AUTHENTICATED, HAS_LEFT, App, Message
from server.http.asgi.connection import Connection
from server.http.chunked import ChunkDecoder, MalformedChunks
from server.http.frontend import BROKEN_HEAD
from server.http.head import Fields, RequestHead

VERSION = "0.18.0"
"""This relies on internals: another version must first pass the tests here."""
NO_ROUTE = refuse("not_found", "no such route")


def check_version() -> None:
    """Raise RuntimeError unless the installed Hypercorn is VERSION."""
    found = importlib.metadata.version("hypercorn")
    if found != VERSION:
        raise RuntimeError(f"hypercorn {VERSION} is needed, {found} is installed")


def _config() -> Config:
    """Return settings for Hypercorn: no logs or headers of its own, no limit on requests per connection."""
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.include_date_header = False
    config.keep_alive_max_requests = sys.maxsize
    return config


CONFIG = _config()


class Exchange(H11Protocol):
    """One request and its answer. Also the `task_group` that HTTPStream spawns in: we run the application ourselves."""

    def __init__(self, app: App, link: Connection, head: RequestHead) -> None:
        super().__init__(
            cast(AppWrapper, app),
            CONFIG,
            WorkerContext(None),
            cast(TaskGroup, self),
            ConnectionState({}),
            False,
            link.client,
            link.server,
            self._to_link,
        )
        self.link = link
        self._head = head
        self.asgi_app = app
        self.parser = cast(h11.Connection, self.connection)
        self._chunks = ChunkDecoder() if head.length is None else None
        """What decodes the body if it is chunked, as in the other front end: h11 gets one chunk of each result."""
        self._encoded = bytearray()
        self._is_complete = False
        self._is_live = False
        self._scope: Any = None

    async def run(self) -> bool:
        """Serve the request whose head is at the front of `link.received`; return whether it can serve another."""
        try:
            return await self._run()
        finally:
            self._break_cycles()

    def _break_cycles(self) -> None:
        """Let go of what refers back to this object, so that all of it is freed at once: until the collector comes, by
        the settings of `runtime/gc.py`, thousands of connections may have left theirs.
        """
        self.task_group = cast(TaskGroup, None)
        self.send = cast(Any, None)

    async def _run(self) -> bool:
        self.parser.receive_data(self._head.raw)
        del self.link.received[: len(self._head.raw)]
        try:
            request = self.parser.next_event()
        except h11.RemoteProtocolError:
            await self.link.refuse(BROKEN_HEAD, self._head)  # h11 checks more than we do
            return False
        if not isinstance(request, h11.Request) or not self._head.target.startswith(b"/"):
            is_head = isinstance(request, h11.Request) and request.method == b"HEAD"
            await self.link.refuse(NO_ROUTE, self._head, with_body=not is_head)  # `*`, for one: no route matches it
            return False
        self._begin_body()
        await self._run_app(request)
        return self._end()

    def _begin_body(self) -> None:
        """Pass the parser what has arrived of the body. A request without one is complete at once."""
        if self._head.length != 0:
            self._feed(bytes(self.link.received))
        else:
            self._is_complete = isinstance(self.parser.next_event(), h11.EndOfMessage)

    def _feed(self, data: bytes) -> None:
        self.link.received.clear()
        if self._chunks is not None:
            self._encoded += data
        elif data:
            self.parser.receive_data(data)

    async def _run_app(self, request: h11.Request) -> None:
        stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            cast(TaskGroup, self),
            False,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        version = request.http_version.decode()
        method = request.method.decode()
        await stream.handle(
            Request(STREAM_ID, list(self._head.fields.lines), version, method, self._head.target, self.connection_state)
        )
        self._scope |= {AUTHENTICATED: self.link.authenticated, HAS_LEFT: self.link.has_left}
        await self.asgi_app(self._scope, self.receive, cast(Any, stream.app_send))
        if stream.state is not ASGIHTTPState.CLOSED:
            raise RuntimeError("the application returned without a complete answer")

    async def spawn_app(self, _app: object, _config: object, scope: object, _send: object) -> None:
        """Keep the scope; called by HTTPStream once it has made it."""
        self._scope = scope

    def _end(self) -> bool:
        if not self._is_complete or self.parser.our_state is not h11.DONE or self.parser.their_state is not h11.DONE:
            return False
        self.link.received[:0] = self.parser.trailing_data[0] if self._chunks is None else self._encoded
        return True

    async def receive(self) -> Message:
        """Return the next ASGI message of the body."""
        pieces: list[bytes] = []
        while not self._is_complete:
            try:
                event = self.parser.next_event()
                if isinstance(event, h11.Data):
                    pieces.append(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self._is_complete = True
                elif pieces:
                    break
                else:
                    await self._read_more()
            except (h11.RemoteProtocolError, MalformedChunks):
                return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"".join(pieces), "more_body": not self._is_complete}

    async def _read_more(self) -> None:
        if self._chunks is not None and self._decode(self._chunks):
            await trio.lowlevel.checkpoint()
            return
        if self.parser.they_are_waiting_for_100_continue:
            self.parser.send(h11.InformationalResponse(status_code=100, headers=[]))
            await self.link.send(CONTINUE)
            await self.link.flush()
        data = await self.link.read()
        if self._chunks is None or not data:
            self.parser.receive_data(data)
        else:
            self._encoded += data

    def _decode(self, chunks: ChunkDecoder) -> bool:
        """Pass h11 the next part of a chunked body; return whether there was any. Raises MalformedChunks."""
        part = chunks.decode(self._encoded)
        if part:
            self.parser.receive_data(b"%x\r\n%b\r\n" % (len(part), part))
        if chunks.done:
            self.parser.receive_data(b"0\r\n\r\n")
        return chunks.done or bool(part)

    async def _to_link(self, event: ConnectionEvent) -> None:
        """Send what Hypercorn sends; its other events concern only its own way of closing."""
        if isinstance(event, RawData):
            await self.link.send(event.data)

    async def stream_send(self, event: StreamEvent) -> None:
        """Send the next part of the answer; the whole leaves at its end, or each part at once if it is followed."""
        if isinstance(event, Response):
            await self.link.send(self._encode_head(event))
            self._is_live = (b"content-type", b"text/event-stream") in event.headers
        else:
            await super().stream_send(event)
        if self._is_live and not isinstance(event, EndBody):
            await self.link.flush()
        if isinstance(event, EndBody):
            await self.link.flush()
            self.link.on_answer_sent()

    def _encode_head(self, event: Response) -> bytes:
        """Return the head of the answer, encoded as in the other front end. h11 is told to keep its state in step."""
        fields = Fields(event.headers)
        length = fields.only(b"content-length")
        is_last = self._head.is_last or self.link.is_ending or not self._is_complete
        is_last |= b"close" in fields.tokens(b"connection")
        told = [*event.headers, (b"connection", b"close")] if is_last else event.headers
        self.parser.send(h11.Response(status_code=event.status_code, headers=told))
        headers = [header for header in event.headers if header[0] not in (b"content-length", b"connection")]
        if event.status_code == 204:
            framing = b""  # which it may not have (RFC 9110, section 8.6)
        elif length is not None:
            framing = b"content-length: %b\r\n" % length
        else:
            framing = CHUNKED if self._head.is_http_1_1 else b""
        return encode_head(event.status_code, headers, framing, last=is_last)

    async def _maybe_recycle(self) -> None:
        """Do nothing: Hypercorn goes on to the next request here; we return from `run` instead."""
