"""One HTTP/1.1 connection: requests are pulled from the socket one after the other, each under a clock.

Hypercorn's own TCPServer pushes: its reader runs beside the application and hands it what comes, so that early
answers, half-closed and silent clients, pipelining and shutdown are races between tasks. Here one task reads a head,
has the request served, and only then looks for the next head.

Guarantees: no exception leaves `run` but cancellation; no wait on the client is without a deadline; the connection is
closed when `run` returns; an answer that was written can be read (what still comes is discarded before closing, since
closing over unread bytes is a reset that takes the answer along).
"""

import socket
import struct
from collections.abc import Awaitable, Callable

import trio

from server.base.refusal import Refusal
from server.http.answer import refusal_answer, written
from server.http.frontend import BROKEN_HEAD, FULL, LINGER_SECONDS, READ_BYTES, WRITE_BYTES, Listener
from server.http.head import TOO_SLOW, RequestHead, complete_head, skip_empty_lines

TURN_AWAY_SECONDS = 0.5


class Gone(Exception):
    """The client is no longer there, or does not read: nothing can be done for it, and nobody is to blame."""


ServeRequest = Callable[["Connection", RequestHead], Awaitable[bool]]
"""Serves the request whose head is at the front of `received`. True: the connection can take another."""


class Connection:
    """One accepted socket. `run` serves it to its end; `read` and `send` are the only ways to the client."""

    def __init__(self, listener: Listener, serve_request: ServeRequest, stream: trio.SocketStream) -> None:
        self.listener = listener
        self._serve_request = serve_request
        self.stream = stream
        self.is_known = False
        self.received = bytearray()
        """Read and not yet taken: the front of the next request."""
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int] | None = None
        self._unsent = bytearray()
        self._sent_away = False
        self._waiting: trio.CancelScope | None = None
        self._answers = 0

    def resume(self, received: bytes, answers: int, *, is_known: bool) -> None:
        """Go on where another front end left off, which read these bytes and gave so many answers."""
        self.received += received
        self._answers = answers
        self.is_known = is_known

    async def run(self) -> None:
        """Serve until either side has had enough. Raise nothing but cancellation."""
        try:
            if self.listener.connections.add(self):
                await self._serve()
            else:
                await self._turn_away()
        except* Gone:
            self._reset_on_close()
        except* Exception as errors:  # noqa: BLE001 (contained: reported below, never the server's end)
            self._reset_on_close()
            self.listener.on_error(errors)
        finally:
            self.listener.connections.remove(self)
            await trio.aclose_forcefully(self.stream)

    async def _serve(self) -> None:
        self._look_up_addresses()
        if self.is_ending:
            return
        while True:
            head = None if self._sent_away else await self._next_head()
            if head is None:
                return
            if isinstance(head, Refusal):
                await self.refuse(head)
                break
            self.listener.connections.fell_busy(self)
            if not await self._serve_request(self, head) or self.is_ending:
                break
        await self._linger()

    @property
    def is_ending(self) -> bool:
        """Whether the server is draining: this answer is the connection's last."""
        return self.listener.is_draining

    def has_answered(self) -> None:
        """Wait for the next request from now on; call when the answer has left."""
        self._answers += 1
        self.listener.connections.fell_idle(self)

    def stop_waiting(self) -> None:
        """End the wait for a request, or for the client to close."""
        self._sent_away = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _next_head(self) -> RequestHead | Refusal | None:
        """Return the next head, and leave it in `received`; None if nothing came, and nobody is owed an answer."""
        limits = self.listener.limits
        started = trio.current_time()
        is_first = self._answers == 0
        deadline = started + (limits.header_timeout_seconds if is_first else limits.keep_alive_timeout_seconds)
        has_begun = is_first
        while (head := self._head_in_hand()) is None:
            if self.received and not has_begun:
                has_begun, deadline = True, trio.current_time() + limits.header_timeout_seconds
            data = await self._wait_for_data(deadline)
            if data is None:
                return TOO_SLOW if self.received and not self._sent_away else None
            if data == b"":
                return BROKEN_HEAD if self.received else None
            self.received += data
        return head

    def _head_in_hand(self) -> RequestHead | Refusal | None:
        skip_empty_lines(self.received)
        return complete_head(self.received)

    async def _wait_for_data(self, deadline: float) -> bytes | None:
        """Return what the client sends next, b"" at its end; None at the deadline, or if this connection must go."""
        data = None
        with trio.CancelScope(deadline=deadline) as self._waiting:
            if self._sent_away:
                self._waiting.cancel()
            data = await self.read()
        self._waiting = None
        return None if self._sent_away else data

    async def read(self) -> bytes:
        """Return what the client sends next; b"" at its end."""
        try:
            return bytes(await self.stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone from error

    async def send(self, data: bytes) -> None:
        """Take bytes to send; they leave when they are many, or with `flush`."""
        self._unsent += data
        if len(self._unsent) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send what waits. A client that takes longer than body_timeout_seconds to read it is gone."""
        data, self._unsent = bytes(self._unsent), bytearray()
        try:
            with trio.fail_after(self.listener.limits.body_timeout_seconds):
                await self.stream.send_all(data)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone from error

    async def refuse(self, refusal: Refusal, *, with_body: bool = True) -> None:
        """Answer what no application will see. The connection ends after it."""
        answer = refusal_answer(refusal, close=True)
        data = written(answer, last=True)
        self._unsent += data if with_body else data[: -len(answer.body)]
        self.listener.observe(answer.status, answer.code, 0.0, self.client[0] if self.client else "")
        await self.flush()

    async def _turn_away(self) -> None:
        with trio.move_on_after(TURN_AWAY_SECONDS):
            await self.refuse(FULL)
            await self._send_eof()

    async def _linger(self) -> None:
        """Say that nothing more will come, and discard what the client still sends, until it closes or time is up."""
        self.listener.connections.fell_idle(self)
        await self._send_eof()
        deadline = trio.current_time() + LINGER_SECONDS
        while await self._wait_for_data(deadline):
            pass

    async def _send_eof(self) -> None:
        try:
            await self.stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone from error

    def _look_up_addresses(self) -> None:
        sock = self.stream.socket
        try:
            self.client = sock.getpeername()[:2]
            self.server = sock.getsockname()[:2]
        except OSError as error:  # reset before we came to it
            raise Gone from error

    def _reset_on_close(self) -> None:
        """Leave the kernel nothing to go on sending to a client that does not read."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
