"""Accepts connections, serves them, and shuts down without cutting a request short.

Shutdown: the trigger fires → the listening sockets are closed → idle connections are closed → requests in progress are
finished and answered with `Connection: close` → `serve` returns. It waits as long as that takes and cancels nothing:
the deadline of a drain is the caller's.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from server.http.asgi.body import App
from server.http.asgi.connection import Connection, ServeRequest
from server.http.asgi.hypercorn import Exchange, check_version
from server.http.fast.event_loop import OUT_OF_RESOURCES, FastIntake, FastLane, HandOver
from server.http.frontend import ConnectionLimits, Listener, Observe
from server.http.head import RequestHead

BACKLOG = 4096
"""Connections that may wait in the kernel, which caps this at net.core.somaxconn."""
ACCEPT_PAUSE_SECONDS = 0.1

OnError = Callable[[str, BaseException], None]


def log_error(name: str, error: BaseException) -> None:
    """Log that a connection failed because of a bug of ours; the server goes on."""
    logging.getLogger("tidegate.http").error("a connection of the %s listener failed", name, exc_info=error)


async def serve(
    app: App,
    sockets: Sequence[socket.socket],
    limits: ConnectionLimits,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]],
    name: str,
    observe: Observe,
    on_error: OnError = log_error,
    fast: FastIntake | None = None,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on bound `sockets`, which it then owns, until `shutdown_trigger` returns; see above.

    With `fast`, the fast lane serves deliveries and the application the rest. `observe` is called for the answers that
    no application sees. Raises RuntimeError if Hypercorn has another version than expected.
    """
    check_version()

    async def serve_request(connection: Connection, head: RequestHead) -> bool:
        return await Exchange(app, connection, head).run()

    listener = Listener(limits, observe, lambda error: on_error(name, error))
    listening = [_listen(sock, limits) for sock in sockets]
    async with trio.open_nursery() as handlers:
        async with trio.open_nursery() as accepting:
            if fast is None:
                for sock in listening:
                    accepting.start_soon(_accept, sock, listener, serve_request, handlers)
                lane = None
            else:
                lane = FastLane(fast, listener, _hand_over_to(listener, serve_request, handlers))
                lane.listen(listening)
                handlers.start_soon(lane.run)
            task_status.started()
            await shutdown_trigger()
            accepting.cancel_scope.cancel()
        listener.is_draining = True
        if lane is not None:
            lane.stop_listening()
        listener.connections.close_idle()


def _hand_over_to(listener: Listener, serve_request: ServeRequest, handlers: trio.Nursery) -> HandOver:
    """Return the callback by which the fast lane hands a connection to the complete front end."""

    def hand_over(sock: socket.socket, received: bytes, answers: int, is_authenticated: bool) -> None:
        connection = Connection(listener, serve_request, trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
        connection.resume(received, answers, is_authenticated=is_authenticated)
        handlers.start_soon(connection.run)

    return hand_over


def _listen(sock: socket.socket, limits: ConnectionLimits) -> socket.socket:
    """Listen. Accepted sockets inherit TCP_USER_TIMEOUT, which bounds how long the kernel sends after a close."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        milliseconds = max(1, int(limits.body_timeout_seconds * 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    sock.setblocking(False)
    sock.listen(BACKLOG)
    return sock


async def _accept(sock: socket.socket, listener: Listener, serve_request: ServeRequest, handlers: trio.Nursery) -> None:
    """Accept for ever. When the host is out of resources, evict an idle connection and pause."""
    socket_listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    async with socket_listener:
        while True:
            try:
                stream = await socket_listener.accept()
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    raise
                listener.connections.evict()
                await trio.sleep(ACCEPT_PAUSE_SECONDS)
            else:
                handlers.start_soon(Connection(listener, serve_request, stream).run)
