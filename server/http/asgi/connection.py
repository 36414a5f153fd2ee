"""One HTTP/1.1 connection: requests are pulled from the socket one at a time, each with a deadline.

Hypercorn's own TCPServer pushes: its reader runs beside the application and feeds it, so that early answers,
half-closed and silent clients, pipelining and shutdown are races between tasks. Here one task reads a head, has the
request served, and only then looks for the next head.

Guarantees: nothing but cancellation is raised by `run`; every wait for the client has a deadline; the connection is
closed when `run` returns; the client can read an answer that was sent (later input is discarded before closing, since
closing with unread bytes resets the connection and destroys the answer).
"""

import select
import socket
import struct
from collections.abc import Awaitable, Callable

import trio

from server.base.refusal import Refusal
from server.http.answer import encode_answer, refusal_answer
from server.http.frontend import BROKEN_HEAD, FULL, LINGER_SECONDS, READ_BYTES, WRITE_BYTES, Listener, RefusedRequest
from server.http.head import TOO_SLOW, RequestHead, complete_head, received_line, skip_empty_lines
from server.http.remote import peer_address

TURN_AWAY_SECONDS = 0.5


class ClientGone(Exception):
    """The client is gone, or does not read. Not an error of ours."""


ServeRequest = Callable[["Connection", RequestHead], Awaitable[bool]]
"""Serves the request whose head is at the front of `received`; returns whether the connection can serve another."""


class Connection:
    """One accepted socket. `run` serves it to its end; `read` and `send` are the only ways to the client."""

    def __init__(self, listener: Listener, serve_request: ServeRequest, stream: trio.SocketStream) -> None:
        self.listener = listener
        self._serve_request = serve_request
        self.stream = stream
        self.is_authenticated = False
        self.received = bytearray()
        """Read and not consumed yet: the start of the next request."""
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int] | None = None
        self._unsent = bytearray()
        self._is_evicted = False
        self._waiting: trio.CancelScope | None = None
        self._answers = 0

    def resume(self, received: bytes, answers: int, *, is_authenticated: bool) -> None:
        """Continue where another front end left off, which read these bytes and sent this many answers."""
        self.received += received
        self._answers = answers
        self.is_authenticated = is_authenticated

    async def run(self) -> None:
        """Serve until either side ends the connection. Raises nothing but cancellation."""
        try:
            if self.listener.connections.add(self):
                await self._serve()
            else:
                await self._turn_away()
        except* ClientGone:
            self._reset_on_close()
        except* Exception as errors:  # noqa: BLE001 (contained: reported below, never ends the server)
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
            head = None if self._is_evicted else await self._next_head()
            if head is None:
                return
            if isinstance(head, Refusal):
                await self.refuse(head)
                break
            self.listener.connections.mark_busy(self)
            if not await self._serve_request(self, head) or self.is_ending:
                break
        await self._linger()

    def authenticated(self) -> None:
        """Note that it is known who sends; such a connection is the last to be evicted."""
        self.is_authenticated = True

    def has_left(self) -> bool:
        """Return whether the client has closed its side, or the connection is broken, without reading what came."""
        found = select.poll()
        found.register(self.stream.socket.fileno(), select.POLLRDHUP)
        return bool(found.poll(0))

    @property
    def is_ending(self) -> bool:
        """Whether the server is draining, so that this answer is the connection's last."""
        return self.listener.is_draining

    def on_answer_sent(self) -> None:
        """Become idle; call when the answer has been sent."""
        self._answers += 1
        self.listener.connections.mark_idle(self)

    def stop_waiting(self) -> None:
        """End the wait for a request, or for the client to close."""
        self._is_evicted = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _next_head(self) -> RequestHead | Refusal | None:
        """Return the next head, and leave it in `received`; None if no request came and no answer is due."""
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
                return TOO_SLOW if self.received and not self._is_evicted else None
            if data == b"":
                return BROKEN_HEAD if self.received else None
            self.received += data
        return head

    def _head_in_hand(self) -> RequestHead | Refusal | None:
        skip_empty_lines(self.received)
        return complete_head(self.received)

    async def _wait_for_data(self, deadline: float) -> bytes | None:
        """Return what the client sends next, b"" at EOF; None at the deadline or if evicted."""
        data = None
        with trio.CancelScope(deadline=deadline) as self._waiting:
            if self._is_evicted:
                self._waiting.cancel()
            data = await self.read()
        self._waiting = None
        return None if self._is_evicted else data

    async def read(self) -> bytes:
        """Return what the client sends next; b"" at EOF. Raises ClientGone."""
        try:
            return bytes(await self.stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClientGone from error

    async def send(self, data: bytes) -> None:
        """Buffer bytes to send; they leave once there are many, or with `flush`."""
        self._unsent += data
        if len(self._unsent) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send what is buffered. Raises ClientGone if the client takes longer than body_timeout_seconds to read it."""
        data, self._unsent = bytes(self._unsent), bytearray()
        try:
            with trio.fail_after(self.listener.limits.body_timeout_seconds):
                await self.stream.send_all(data)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClientGone from error

    async def refuse(self, refusal: Refusal, head: RequestHead | None = None, *, with_body: bool = True) -> None:
        """Refuse a request that no application sees: one with this head, or what `received` begins with.

        The connection ends after it.
        """
        answer = refusal_answer(refusal, close=True)
        data = encode_answer(answer, last=True)
        self._unsent += data if with_body else data[: -len(answer.body)]
        line = received_line(self.received if head is None else head.raw)
        refused = RefusedRequest(self.client[0] if self.client else "", line)
        self.listener.observe(answer.status, answer.code, 0.0, refused)
        await self.flush()

    async def _turn_away(self) -> None:
        with trio.move_on_after(TURN_AWAY_SECONDS):
            await self.refuse(FULL)
            await self._send_eof()

    async def _linger(self) -> None:
        """Send EOF and discard what the client still sends, until it closes or LINGER_SECONDS have passed."""
        self.listener.connections.mark_idle(self)
        await self._send_eof()
        deadline = trio.current_time() + LINGER_SECONDS
        while await self._wait_for_data(deadline):
            pass

    async def _send_eof(self) -> None:
        try:
            await self.stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ClientGone from error

    def _look_up_addresses(self) -> None:
        sock = self.stream.socket
        try:
            host, port = sock.getpeername()[:2]
            self.server = sock.getsockname()[:2]
        except OSError as error:  # reset already
            raise ClientGone from error
        self.client = (peer_address(host), port)

    def _reset_on_close(self) -> None:
        """Close with a reset, so that the kernel does not go on sending to a client that does not read."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
