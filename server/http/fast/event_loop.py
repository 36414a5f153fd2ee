"""The fast lane: deliveries on plain HTTP/1.1, all ready sockets served by one task, without a task a connection.

The lane has an epoll of its own and waits for that one descriptor; when it is readable, every ready socket is served
synchronously. So a delivery costs no task switch of trio, and a burst of them one. What is no delivery is handed to
the complete front end with the bytes that came already. Policy is the gate's; here are sockets, epoll and deadlines.

Fair: a turn serves each ready socket once (one read, one request), at most READY_MAX of them; then trio's other tasks
have theirs.
"""

import errno
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Protocol

import trio

from server.base.wakeup import Wakeup
from server.http.answer import Answer, written
from server.http.fast.connection import FastConnection
from server.http.fast.protocol import Heads
from server.http.fast.socket import FastSocket, State
from server.http.frontend import ConnectionLimits, GateProtocol, Listener, Observe
from server.http.remote import Network

READY_MAX = 256
"""Sockets served in one turn: a few milliseconds."""

ACCEPT_MAX = 64
"""Connections accepted in one turn."""

SWEEP_SECONDS = 0.1
"""How late a deadline may be noticed: far below any sensible timeout, and cheap for thousands of connections."""

OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}

HandOver = Callable[[socket.socket, bytes, int, bool], None]
"""A socket, the bytes that came already, how many answers it had, and whether its sender is known."""


class FastGateProtocol(GateProtocol, Protocol):
    """What the lane asks of the gate."""

    def take(self, requests: Sequence[FastConnection], lane: "FastLane", /) -> Sequence[FastConnection]: ...


@dataclass(frozen=True, slots=True)
class Fast:
    """What the fast lane needs to take deliveries by itself."""

    gate: FastGateProtocol
    trusted_proxies: Sequence[Network]
    accepted: Callable[[int, float], None]
    """Hears of deliveries that were answered together: how many, and in how many seconds. Of the others the listener's
    `observe` does."""


class FastLane:
    """The connections of one listening socket, until they are closed or handed over."""

    def __init__(self, fast: Fast, listener: Listener, hand_over: HandOver) -> None:
        self.gate = fast.gate
        self._accepted = fast.accepted
        self.limits: ConnectionLimits = listener.limits
        self.observe: Observe = listener.observe
        self.connections = listener.connections
        self.now = time.monotonic()
        """Of this turn."""
        self.whole: list[FastConnection] = []
        """Those whose request came whole in this turn."""
        self._listener = listener
        self._hand_over = hand_over
        self._heads = Heads(fast.trusted_proxies)
        self._epoll = select.epoll()
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable while somebody waits for the next turn."""
        self._epoll.register(self._alarm, select.EPOLLIN)
        self._listening: dict[int, socket.socket] = {}
        self._open: dict[int, FastConnection] = {}
        self._again: dict[FastConnection, None] = {}
        self._paused: list[int] = []
        self._date: tuple[int, bytes] = (0, b"")
        self._changed = Wakeup()

    @property
    def is_draining(self) -> bool:
        return self._listener.is_draining

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept the connections of these listening sockets."""
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
        """Serve what is ready, until nothing listens any more and the last connection is closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                nursery.start_soon(self._take_turns)
                while self._listening or self._open:
                    await self._changed.wait()
                nursery.cancel_scope.cancel()
        finally:
            self.stop_listening()
            for connection in list(self._open.values()):
                connection.close()
            self._epoll.close()
            os.close(self._alarm)

    async def _take_turns(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            self.now = time.monotonic()
            self._turn()

    def watch(self, connection: FastSocket, *, reading: bool, writing: bool = False) -> None:
        """What to wait for on this connection."""
        events = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if writing else 0)
        self._epoll.modify(connection.file, events)

    def again(self, connection: FastConnection) -> None:
        """It has bytes in hand for another request: serve it in the next turn."""
        if not self._again:
            os.eventfd_write(self._alarm, 1)
        self._again[connection] = None

    def let_in(self, connections: Sequence[FastConnection]) -> None:
        """The requests of these, which came whole, are on their way to the disk."""
        self.connections.known_fell_busy(connections)
        for connection in connections:
            connection.go()

    def answer(self, connections: Sequence[FastConnection], bodies: Sequence[bytes]) -> None:
        """They are on disk: what each gets. All of these bodies have one length."""
        if self.is_draining:
            self.answer_each(connections, [Answer(200, body) for body in bodies])
            return
        self._accepted(len(connections), self.time() - connections[0].started)
        head = written(Answer(200, bodies[0]), self.date(), last=False)[: -len(bodies[0])]
        idle = []
        for connection, body in zip(connections, bodies, strict=True):
            try:
                if connection.reply(head + body):
                    idle.append(connection)
            except Exception as error:  # noqa: BLE001  # contained, as in `_serve`
                self._listener.on_error(error)
                connection.close()
        self.connections.known_fell_idle(idle)

    def answer_each(self, connections: Sequence[FastConnection], answers: Sequence[Answer]) -> None:
        """What each of those that were let in together gets."""
        for connection, answer in zip(connections, answers, strict=True):
            self._serve(connection, partial(connection.answered, answer))

    def forget(self, connection: FastSocket) -> None:
        """It is about to be closed, or handed over."""
        self._epoll.unregister(connection.file)
        del self._open[connection.file]
        self.connections.remove(connection)
        self._changed.notify()

    def hand_over(self, connection: FastConnection) -> None:
        """What comes on this connection is no delivery."""
        connection.state = State.CLOSED
        self.forget(connection)
        self._hand_over(connection.sock, connection.protocol.buffer, connection.answers, connection.is_known)

    def time(self) -> float:
        """Now, exactly."""
        return time.monotonic()

    def date(self) -> bytes:
        """For the Date header; made once a second."""
        second = int(time.time())
        if second != self._date[0]:
            self._date = (second, formatdate(second, usegmt=True).encode())
        return self._date[1]

    def _turn(self) -> None:
        ready = self._epoll.poll(0, READY_MAX)
        if self._again:
            self._go_on()
        for file, events in ready:
            connection = self._open.get(file)
            if connection is None:
                continue
            if events & select.EPOLLIN:
                self._serve(connection, connection.readable)
            elif events & select.EPOLLOUT:
                self._serve(connection, connection.writable)
            else:
                self._serve(connection, connection.close)
        if self.whole:
            self._take_whole()
        for file, _ in ready:
            if file in self._listening:
                self._accept(file, self._listening[file])

    def _take_whole(self) -> None:
        """What came whole in this turn goes in together, or is served as any other."""
        whole, self.whole = self.whole, []
        try:
            alone = self.gate.take(whole, self)
        except Exception as error:  # noqa: BLE001  # contained, as in `_serve`
            self._listener.on_error(error)
            for connection in whole:
                connection.close()
        else:
            for connection in alone:
                self._serve(connection, connection.advance)

    def _go_on(self) -> None:
        """Serve those that have bytes in hand."""
        os.eventfd_read(self._alarm)
        again, self._again = self._again, {}
        for connection in again:
            self._serve(connection, connection.advance)

    def _accept(self, file: int, listening: socket.socket) -> None:
        """What waits to be accepted; one a turn where each takes another's place, so that those can be served first."""
        for _ in range(ACCEPT_MAX):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    continue  # that one client is gone already
                self.connections.evict()
                self._pause_accepting(file)
                return
            self._add(sock, address[0])
            if self.connections.is_full:
                return

    def _add(self, sock: socket.socket, peer: str) -> None:
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._epoll.register(sock.fileno(), select.EPOLLIN)
        except OSError:  # gone already, or the machine has no room for one more
            sock.close()
            return
        connection = FastConnection(self, sock, peer, self._heads, self.now)
        if self.connections.add(connection):
            self._open[connection.file] = connection
        else:
            self._epoll.unregister(connection.file)
            self._hand_over(sock, b"", 0, False)  # to be turned away

    def _pause_accepting(self, file: int) -> None:
        """The machine has no room for one more connection: try again with the next sweep."""
        self._epoll.modify(file, 0)
        self._paused.append(file)

    def _serve(self, connection: FastConnection, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001  # contained: reported, and never the server's end
            self._listener.on_error(error)
            connection.close()

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_SECONDS)
            self.now = time.monotonic()
            for file in self._paused:
                if file in self._listening:
                    self._epoll.modify(file, select.EPOLLIN)
            self._paused.clear()
            for late in [each for each in self._open.values() if each.deadline <= self.now]:
                self._serve(late, late.out_of_time)
