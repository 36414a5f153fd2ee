"""The socket of one connection of the fast lane: what is said on it, what is waited for, and how it ends.

Nothing here blocks. What the client does not take at once is kept until it reads again (FLUSH). After the last answer
it says nothing more and discards what comes (LINGER), then it is CLOSED.
"""

import socket
from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import Protocol as Interface

from server.http.connections import Connections
from server.http.fast.protocol import Heads, Protocol
from server.http.frontend import LINGER_SECONDS, ConnectionLimits

BUFFER_BYTES_MAX = 262144
"""Of a pipelining client's next requests; beyond it nothing is read until an answer has left."""


class State(Enum):
    """Where the connection is."""

    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    FLUSH = auto()
    LINGER = auto()
    CLOSED = auto()


class SocketLane(Interface):
    """What a socket needs of its lane."""

    limits: ConnectionLimits
    connections: Connections
    now: float

    def watch(self, connection: "FastSocket", *, reading: bool, writing: bool = False) -> None: ...
    def forget(self, connection: "FastSocket") -> None: ...


class FastSocket(ABC):
    """One accepted socket, and what came on it and was not taken yet. Inherited from, since a connection that has its
    socket as a part would be two more look-ups for each request."""

    __slots__ = (
        "_is_last",
        "_lane",
        "_unsent",
        "_watched",
        "at_end",
        "deadline",
        "file",
        "is_known",
        "protocol",
        "sock",
        "state",
    )

    def __init__(self, lane: SocketLane, sock: socket.socket, peer: str, heads: Heads, now: float) -> None:
        self._lane = lane
        self.sock = sock
        self.file = sock.fileno()
        self.protocol = Protocol(heads, peer)
        self.state = State.HEAD
        self.is_known = False
        """A sender on it has passed the gate."""
        self.at_end = False
        """The client will send no more."""
        self.deadline = now + lane.limits.header_timeout_seconds
        self._unsent = b""
        self._is_last = False
        self._watched = (True, False)

    def writable(self) -> None:
        """The client reads again."""
        self._send(self._unsent)
        self._watch()

    def stop_waiting(self) -> None:
        """It has no request in hand: it is sent away."""
        self.close()

    def close(self) -> None:
        """Nothing more to or from this client."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._lane.forget(self)
        self.sock.close()

    @abstractmethod
    def _has_answered(self) -> None:
        """The answer has left whole: go on, or linger."""

    def _send(self, data: bytes) -> None:
        left = self._send_now(data)
        if left is None:
            return
        if left:
            self._keep(left)
            return
        self._unsent = b""
        self._lane.connections.fell_idle(self)
        self._has_answered()

    def _keep(self, left: bytes) -> None:
        """For when the client reads again."""
        if not self._unsent:
            self.deadline = self._lane.now + self._lane.limits.body_timeout_seconds
        self._unsent = left

    def _send_now(self, data: bytes) -> bytes | None:
        """What could not be sent yet; None where the client is gone."""
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:
            self.close()
            return None
        return data[sent:] if sent < len(data) else b""

    def _linger(self) -> None:
        """Close only after the client has, or a while later: closing over unread bytes would take the answer along."""
        self.state = State.LINGER
        self.protocol.buffer = b""
        self.deadline = self._lane.now + LINGER_SECONDS
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        if self.at_end:
            self.close()

    def _watch(self) -> None:
        """Wait for what can be used now: nothing is read while much waits to be served, or the client does not read."""
        if self.state is State.CLOSED:
            return
        writing = bool(self._unsent)
        reading = not self.at_end and not writing and len(self.protocol.buffer) < BUFFER_BYTES_MAX
        if (reading, writing) != self._watched:
            self._watched = (reading, writing)
            self._lane.watch(self, reading=reading, writing=writing)
