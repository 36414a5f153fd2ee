"""A raw-socket HTTP client with bounded waits: it sends the bytes it is told and shows the bytes that came."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import orjson
import trio

from tests.support.waiting import HANG_SECONDS

WAIT_SECONDS = HANG_SECONDS
"""A test that waits longer has failed; nothing waits this long on purpose."""


@dataclass(frozen=True)
class Reply:
    """One parsed answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The refusal's code."""
        return str(orjson.loads(self.body)["code"])


class Raw:
    """One connection to the server under test."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._rest = b""

    async def send(self, data: bytes) -> None:
        """Sends all of `data`; a server that has closed already is no error here."""
        with trio.fail_after(WAIT_SECONDS), suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def send_eof(self) -> None:
        """Closes our sending half."""
        await self.stream.send_eof()

    async def read_until_close(self) -> bytes:
        """Everything until the server closes. A reset raises trio.BrokenResourceError."""
        data, self._rest = self._rest, b""
        with trio.fail_after(WAIT_SECONDS):
            while piece := await self.stream.receive_some(65536):
                data += piece
        return data

    async def send_until_reset(self, data: bytes) -> None:
        """Sends `data` again and again, without ever reading, until the server resets the connection."""
        with trio.fail_after(WAIT_SECONDS), suppress(trio.BrokenResourceError):
            while True:
                await self.stream.send_all(data)

    def reset_on_close(self) -> None:
        """Makes closing a reset, as when a client's machine dies."""
        self.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def replies_until_close(self, methods: str = "") -> list[Reply]:
        """Every answer until the server closes; `methods` has an H for each answer to a HEAD request."""
        replies: list[Reply] = []
        data = await self.read_until_close()
        while data:
            is_head = methods[len(replies) : len(replies) + 1] == "H"
            reply, data = _parse(data, is_head=is_head)
            replies.append(reply)
        return replies

    async def reply(self, *, is_head: bool = False) -> Reply:
        """The next whole answer; the connection stays open."""
        with trio.fail_after(WAIT_SECONDS):
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


def _parse(data: bytes, *, is_head: bool) -> tuple[Reply, bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise EOFError(data)
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(status_line.split(" ")[1])
    length = 0 if is_head or status < 200 else int(headers["content-length"])
    if len(rest) < length:
        raise EOFError(data)
    return Reply(status, headers, rest[:length]), rest[length:]
