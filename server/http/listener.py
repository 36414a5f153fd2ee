"""Listening: accepts connections, serves each in a task of its own, and ends without cutting a request short.

Order of the end: the trigger fires → the listening sockets are closed → idle connections are closed → requests in
hand are finished and answered with `Connection: close` → `serve` returns. It waits for as long as that takes and
cancels nothing: the deadline of a drain is its caller's.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from server.http.asgi.body import App
from server.http.asgi.connection import Connection
from server.http.asgi.connection import Exchange as Exchanging
from server.http.asgi.hypercorn import Exchange, check_version
from server.http.fast.event_loop import OUT_OF_RESOURCES, Fast, FastLane, HandOver
from server.http.frontend import ConnectionLimits, Listener, Observe
from server.http.head import RequestHead

BACKLOG = 4096
"""Connections that wait for us in the kernel; it cuts this at net.core.somaxconn."""
ACCEPT_PAUSE_SECONDS = 0.1

OnError = Callable[[str, BaseException], None]


def log_error(name: str, error: BaseException) -> None:
    """A connection failed by our own fault: loud, and contained."""
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
    fast: Fast | None = None,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves `app` on bound `sockets`, which it owns from now on, until `shutdown_trigger` returns; see above.

    With `fast`, deliveries go through the fast lane; the application sees the rest. `observe` hears of the answers
    that no application saw. Raises RuntimeError for another Hypercorn than ours.
    """
    check_version()

    async def exchange(connection: Connection, head: RequestHead) -> bool:
        return await Exchange(app, connection).run(head)

    listener = Listener(limits, observe, lambda error: on_error(name, error))
    listening = [_listen(sock, limits) for sock in sockets]
    async with trio.open_nursery() as handlers:
        async with trio.open_nursery() as accepting:
            if fast is None:
                for sock in listening:
                    accepting.start_soon(_accept, sock, listener, exchange, handlers)
                lane = None
            else:
                lane = FastLane(fast, listener, _handing_over(listener, exchange, handlers))
                lane.listen(listening)
                handlers.start_soon(lane.run)
            task_status.started()
            await shutdown_trigger()
            accepting.cancel_scope.cancel()
        listener.is_draining = True
        if lane is not None:
            lane.stop_listening()
        listener.connections.close_idle()


def _handing_over(listener: Listener, exchange: Exchanging, handlers: trio.Nursery) -> HandOver:
    """For the fast lane: gives a connection with another request to the application's front end."""

    def hand_over(sock: socket.socket, received: bytes, answers: int, is_known: bool) -> None:
        connection = Connection(listener, exchange, trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
        connection.resume(received, answers, is_known=is_known)
        handlers.start_soon(connection.run)

    return hand_over


def _listen(sock: socket.socket, limits: ConnectionLimits) -> socket.socket:
    """TCP_USER_TIMEOUT, inherited by what is accepted, ends what the kernel still sends for a closed connection."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        milliseconds = max(1, int(limits.body_timeout_seconds * 1000))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
    sock.setblocking(False)
    sock.listen(BACKLOG)
    return sock


async def _accept(sock: socket.socket, listener: Listener, exchange: Exchanging, handlers: trio.Nursery) -> None:
    """Accepts for ever. Where the machine has no room for one more connection, an idle one makes it."""
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
                handlers.start_soon(Connection(listener, exchange, stream).run)
