"""The fast lane: deliveries on plain HTTP/1.1, all connections served by one task.

The lane has an epoll of its own and waits for that one descriptor; when it is readable, every ready socket is served
synchronously. So a burst of deliveries costs one task switch of trio, not one each. Any other request is handed over to
the complete front end, with the bytes already received. Policy is the gate's; here are sockets, epoll and deadlines.

Fair: a turn serves each ready socket once (one read, one request), at most READY_MAX of them; then trio's other tasks
run.
"""

import errno
import math
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Protocol

import trio

from server.base.wakeup import Wakeup
from server.http.answer import Answer, encode_answer
from server.http.fast.connection import FastConnection
from server.http.fast.head_cache import HeadCache
from server.http.fast.socket import FastSocket, seconds_by_state
from server.http.frontend import Listener, Observe, RequestGate
from server.http.remote import Network, peer_address

READY_MAX = 256
"""Sockets served in one turn: a few milliseconds."""

ACCEPT_MAX = 64
"""Connections accepted in one turn."""

SWEEP_SECONDS = 0.1
"""How late a deadline may be noticed: far below any sensible timeout, and cheap for thousands of connections."""

OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

HandOver = Callable[[socket.socket, bytes, int, bool], None]
"""Called with a socket, the bytes received already, the number of answers sent, and whether it is authenticated."""


class BatchGate(RequestGate, Protocol):
    """What the lane needs from the gate."""

    def submit_batch(self, requests: Sequence[FastConnection], reply: "FastLane", /) -> Sequence[FastConnection]: ...


@dataclass(frozen=True, slots=True)
class FastIntake:
    """What the fast lane needs to serve deliveries by itself."""

    gate: BatchGate
    trusted_proxies: Sequence[Network]
    accepted: Callable[[int, float], None]
    """Called for deliveries that were answered together: how many, and in how many seconds. For the others the
    listener's `observe` is called."""


class FastLane:
    """The connections of one listener, until they are closed or handed over."""

    def __init__(self, fast: FastIntake, listener: Listener, hand_over: HandOver) -> None:
        self.gate = fast.gate
        self._accepted = fast.accepted
        self.seconds = seconds_by_state(listener.limits)
        self.observe: Observe = listener.observe
        self.connections = listener.connections
        self.now = time.monotonic()
        """When this turn began; monotonic seconds."""
        self.full_until = -math.inf
        """While requests wait for room, only heads are read."""
        self.batch: list[FastConnection] = []
        """Those whose request arrived whole in this turn."""
        self.listener = listener
        self._hand_over = hand_over
        self._heads = HeadCache(fast.trusted_proxies)
        self._epoll = select.epoll()
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable while a connection is scheduled for the next turn."""
        self._epoll.register(self._alarm, select.EPOLLIN)
        self._listening: dict[int, socket.socket] = {}
        self._open: dict[int, FastConnection] = {}
        self._rescheduled: dict[FastConnection, None] = {}
        self._paused: list[int] = []
        self._changed = Wakeup()

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on these listening sockets."""
        for sock in sockets:
            self._listening[sock.fileno()] = sock
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def stop_listening(self) -> None:
        """Close the listening sockets; open connections go on."""
        for file, sock in self._listening.items():
            self._epoll.unregister(file)
            sock.close()
        self._listening.clear()
        self._changed.notify()

    async def run(self) -> None:
        """Serve what is ready, until nothing listens and the last connection is closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                nursery.start_soon(self._serve_turns)
                while self._listening or self._open:
                    await self._changed.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.stop_listening()
            for connection in list(self._open.values()):
                connection.close()
            self._epoll.close()
            os.close(self._alarm)

    async def _serve_turns(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self.now = time.monotonic()
            self._turn()

    def watch(self, connection: FastSocket, *, reading: bool, writing: bool = False) -> None:
        """Wait for these events on the connection, and for no others."""
        events = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if writing else 0)
        self._epoll.modify(connection.file, events)

    def reschedule(self, connection: FastConnection) -> None:
        """Serve it in the next turn without new input; call when it has bytes left to process."""
        if not self._rescheduled:
            os.eventfd_write(self._alarm, 1)
        self._rescheduled[connection] = None

    def admit(self, connections: Sequence[FastConnection]) -> None:
        """Let these wait for their answers; call when their requests are being committed."""
        self.connections.mark_all_busy(connections)
        for connection in connections:
            connection.wait_for_answer()

    def answer(self, connections: Sequence[FastConnection], bodies: Sequence[bytes]) -> None:
        """Answer each with a 200 and its body; call when all are on disk. The bodies have equal lengths."""
        if self.listener.is_draining:
            self.answer_each(connections, [Answer(200, body) for body in bodies])
            return
        self._accepted(len(connections), time.monotonic() - connections[0].started)
        head = encode_answer(Answer(200, bodies[0]), last=False)[: -len(bodies[0])]
        idle = []
        for connection, body in zip(connections, bodies, strict=True):
            try:
                if connection.reply(head + body):
                    idle.append(connection)
            except Exception as error:  # noqa: BLE001  # contained, as in `_serve`
                self.listener.on_error(error)
                connection.close()
        self.connections.mark_all_idle(idle)

    def answer_each(self, connections: Sequence[FastConnection], answers: Sequence[Answer]) -> None:
        """Answer each with its own answer."""
        for connection, answer in zip(connections, answers, strict=True):
            self._serve(connection, partial(connection.on_answer, answer))

    def forget(self, connection: FastSocket) -> None:
        """Remove it; call when it is about to be closed, or handed over."""
        self._epoll.unregister(connection.file)
        del self._open[connection.file]
        self.connections.remove(connection)
        self._changed.notify()

    def hand_over(self, connection: FastConnection) -> None:
        """Hand it to the complete front end: its request is not a delivery."""
        self._hand_over(
            connection.release(), connection.protocol.buffer, connection.answers, connection.is_authenticated
        )

    def _turn(self) -> None:
        ready = self._epoll.poll(0, READY_MAX)
        if self._rescheduled:
            self._serve_rescheduled()
        for file, events in ready:
            connection = self._open.get(file)
            if connection is None:
                continue
            if events & select.EPOLLIN:
                self._serve(connection, connection.on_readable)
            elif events & select.EPOLLOUT:
                self._serve(connection, connection.on_writable)
            else:
                self._serve(connection, connection.close)
        if self.batch:
            self._submit_batch()
        for file, _ in ready:
            if file in self._listening:
                self._accept(file, self._listening[file])

    def _submit_batch(self) -> None:
        """Submit together the requests that arrived whole in this turn; serve the rest one by one."""
        batch, self.batch = self.batch, []
        try:
            alone = self.gate.submit_batch(batch, self)
        except Exception as error:  # noqa: BLE001  # contained, as in `_serve`
            self.listener.on_error(error)
            for connection in batch:
                connection.close()
        else:
            for connection in alone:
                self._serve(connection, connection.advance)

    def _serve_rescheduled(self) -> None:
        os.eventfd_read(self._alarm)
        rescheduled, self._rescheduled = self._rescheduled, {}
        for connection in rescheduled:
            self._serve(connection, connection.advance)

    def _accept(self, file: int, listening: socket.socket) -> None:
        """Accept what is waiting; when full only one per turn, so that the ones to be evicted are served first."""
        self.now = time.monotonic()  # a turn may take long, and new ones have their whole time
        for _ in range(ACCEPT_MAX):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    continue  # that client is gone already
                self.connections.evict()
                self._pause_accepting(file)
                return
            self._add(sock, peer_address(address[0]))
            if self.connections.is_full:
                return

    def _add(self, sock: socket.socket, peer: str) -> None:
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._epoll.register(sock.fileno(), select.EPOLLIN)
        except OSError:  # gone already, or the host is out of resources
            sock.close()
            return
        connection = FastConnection(self, sock, peer, self._heads)
        if self.connections.add(connection):
            self._open[connection.file] = connection
        else:
            self._epoll.unregister(connection.file)
            self._hand_over(sock, b"", 0, False)  # to be turned away

    def _pause_accepting(self, file: int) -> None:
        """Stop accepting until the next sweep; call when the host is out of resources."""
        self._epoll.modify(file, 0)
        self._paused.append(file)

    def _serve(self, connection: FastConnection, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001  # contained: reported, never ends the server
            self.listener.on_error(error)
            connection.close()

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self.now = time.monotonic()
            for file in self._paused:
                if file in self._listening:
                    self._epoll.modify(file, select.EPOLLIN)
            self._paused.clear()
            late = [each for each in self._open.values() if each.deadline <= self.now]
            for connection in sorted(late, key=attrgetter("deadline")):  # who waits for room: the first comes first
                self._serve(connection, connection.on_deadline)
            if self.batch:
                self._submit_batch()
