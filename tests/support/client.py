"""Two HTTP clients: a plain one of blocking calls, and one on a raw socket, which sends the bytes it is told and shows
the bytes that came.
"""

import fcntl
import http.client
import json
import struct
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import trio

from tests.support.config import TOKEN
from tests.support.waiting import HANG_SECONDS, until


@dataclass(frozen=True)
class Response:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Session:
    """One kept-alive connection. Any method raises OSError or HTTPException when it breaks."""

    def __init__(self, port: int, delivered: list[str] | None = None) -> None:
        """`delivered` gets the id of each delivery that is answered with 200."""
        self._delivered = [] if delivered is None else delivered
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_SECONDS)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def connect(self) -> None:
        """Connect before the first request does."""
        self._connection.connect()

    def post(
        self, source: str, body: object, *, token: str = TOKEN, headers: Mapping[str, str] | None = None
    ) -> Response:
        """One delivery; `body` is bytes, or what becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        merged = {"Authorization": f"Bearer {token}", **(headers or {})}
        answer = self.ask("POST", f"/ingest/inbound/{source}", data, merged)
        if answer.status == 200:
            self._delivered.append(answer.json["delivery"])
        return answer

    def ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
        self._connection.request(method, path, body, dict(headers))
        answer = self._connection.getresponse()
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def ask_once(port: int, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
    """The answer to this request on a connection of its own."""
    with Session(port) as session:
        return session.ask(method, path, body, headers)


def item(event_id: str, **keys: object) -> dict[str, object]:
    """An event of this id; the keys are its payload."""
    return {"inbound_event_id": event_id, **keys}


@dataclass(frozen=True)
class Reply:
    """One parsed answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The refusal's code."""
        return str(json.loads(self.body)["code"])


class Raw:
    """One connection to the server under test."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._rest = bytearray()

    async def send(self, data: bytes) -> None:
        """Sends all of `data`; a server that has closed already is no error here."""
        with trio.fail_after(HANG_SECONDS), suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def all_has_arrived(self) -> None:
        """Return when the server's kernel has all that was sent: its next turn sees it."""
        unread = bytearray(4)

        def is_acknowledged() -> bool:
            fcntl.ioctl(self.stream.socket.fileno(), termios.TIOCOUTQ, unread)
            return not any(unread)

        await until(is_acknowledged)

    async def send_eof(self) -> None:
        """Closes our sending half."""
        await self.stream.send_eof()

    async def read_until_close(self) -> bytes:
        """Everything until the server closes. A reset raises trio.BrokenResourceError."""
        data, self._rest = self._rest, bytearray()
        with trio.fail_after(HANG_SECONDS):
            while piece := await self.stream.receive_some(65536):
                data += piece
        return bytes(data)

    async def send_until_reset(self, data: bytes) -> None:
        """Sends `data` again and again, without ever reading, until the server resets the connection."""
        with trio.fail_after(HANG_SECONDS), suppress(trio.BrokenResourceError):
            while True:
                await self.stream.send_all(data)

    def reset_on_close(self) -> None:
        """Makes closing a reset, as when a client's machine dies."""
        self.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def replies_until_close(self, methods: str = "") -> list[Reply]:
        """Every answer until the server closes; `methods` has an H for each answer to a HEAD request."""
        replies: list[Reply] = []
        data = bytearray(await self.read_until_close())
        while data:
            is_head = methods[len(replies) : len(replies) + 1] == "H"
            reply, data = _parse(data, is_head=is_head)
            replies.append(reply)
        return replies

    async def reply(self, *, is_head: bool = False) -> Reply:
        """The next whole answer; the connection stays open."""
        with trio.fail_after(HANG_SECONDS):
            while True:
                try:
                    reply, self._rest = _parse(self._rest, is_head=is_head)
                except EOFError:
                    piece = await self.stream.receive_some(65536)
                    if not piece:
                        raise
                    self._rest += piece
                else:
                    return reply


@asynccontextmanager
async def connected(port: int, *, receive_buffer_bytes: int | None = None) -> AsyncIterator[Raw]:
    """A connection that is closed at the end."""
    sock = trio.socket.socket()
    if receive_buffer_bytes is not None:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer_bytes)
    try:
        await sock.connect(("127.0.0.1", port))
        async with trio.SocketStream(sock) as stream:
            yield Raw(stream)
    finally:
        sock.close()


async def ask(port: int, request: bytes, *, is_head: bool = False) -> Reply:
    """The first answer to `request` on a connection of its own."""
    async with connected(port) as raw:
        await raw.send(request)
        return await raw.reply(is_head=is_head)


def request(
    method: str = "GET", target: str = "/livez", *headers: str, body: bytes | None = None, version: str = "1.1"
) -> bytes:
    """A well-formed request; a body brings its Content-Length."""
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def _parse(data: bytearray, *, is_head: bool) -> tuple[Reply, bytearray]:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise EOFError(data)
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(status_line.split(" ")[1])
    length = 0 if is_head or status < 200 else int(headers["content-length"])
    if len(rest) < length:
        raise EOFError(data)
    return Reply(status, headers, bytes(rest[:length])), rest[length:]
