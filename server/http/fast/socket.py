"""The socket of one connection of the fast lane: its states, what is said on it, and how it ends.

Nothing here blocks. What the client does not take at once is kept until it reads again (FLUSH). After the last answer
it says nothing more and discards what comes (LINGER), then it is CLOSED.
"""

import math
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, auto
from typing import NamedTuple, Protocol

from server.http.connections import Connections
from server.http.fast.head_cache import HeadCache
from server.http.fast.protocol import IngestProtocol
from server.http.frontend import LINGER_SECONDS, ConnectionLimits

BUFFER_BYTES_MAX = 262144
"""Of a pipelining client's next requests; beyond it nothing is read until an answer has left."""


class State(IntEnum):
    """Where the connection is. Numbers, since each is a place in the lane's `seconds`."""

    HEAD = 0
    """Waits for the rest of a request's head; a new connection, for its first byte too."""
    BODY = auto()
    """Admitted: waits for the rest of the body."""
    ANSWER = auto()
    """Submitted: waits for the commit."""
    FLUSH = auto()
    """Answered: waits for a client that does not read as fast as we write."""
    IDLE = auto()
    """Waits for the next request."""
    LINGER = auto()
    """Says nothing more: waits for the client to close, and discards what comes."""
    CLOSED = auto()


class Stay(NamedTuple):
    """How long a connection may stay in a state, and where it may go from there."""

    seconds: Callable[[ConnectionLimits], float]
    following: frozenset[State]


_after_answer = {State.IDLE, State.HEAD, State.LINGER, State.CLOSED}
_refused = {State.FLUSH, State.LINGER, State.CLOSED}

STATES: Mapping[State, Stay] = {
    State.HEAD: Stay(lambda limits: limits.header_timeout_seconds, frozenset(_refused | {State.BODY})),
    State.BODY: Stay(lambda limits: limits.body_timeout_seconds, frozenset(_refused | {State.ANSWER})),
    State.ANSWER: Stay(lambda _: math.inf, frozenset(_after_answer | {State.FLUSH})),
    State.FLUSH: Stay(lambda limits: limits.body_timeout_seconds, frozenset(_after_answer)),
    State.IDLE: Stay(
        lambda limits: limits.keep_alive_timeout_seconds, frozenset({State.HEAD, State.ANSWER, State.CLOSED})
    ),
    State.LINGER: Stay(lambda _: LINGER_SECONDS, frozenset({State.CLOSED})),
    State.CLOSED: Stay(lambda _: math.inf, frozenset()),
}


def seconds_by_state(limits: ConnectionLimits) -> Sequence[float]:
    """Return how long a connection may stay in each state, in the states' order."""
    return tuple(STATES[state].seconds(limits) for state in State)


class SocketLane(Protocol):
    """What a socket needs of its lane."""

    connections: Connections
    now: float
    seconds: Sequence[float]

    def watch(self, connection: "FastSocket", *, reading: bool, writing: bool = False) -> None: ...
    def forget(self, connection: "FastSocket") -> None: ...


class FastSocket(ABC):
    """One accepted socket, and what came on it and is not used yet. A base class: a connection that held its socket
    as a part would cost two more look-ups a request."""

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

    state: State
    deadline: float

    def __init__(self, lane: SocketLane, sock: socket.socket, peer: str, heads: HeadCache) -> None:
        self._lane = lane
        self.sock = sock
        self.file = sock.fileno()
        self.protocol = IngestProtocol(heads, peer)
        self.is_known = False
        """A sender on it has passed the gate."""
        self.at_end = False
        """The client will send no more."""
        self._unsent = b""
        self._is_last = False
        self._watched = (True, False)
        self._enter(State.HEAD)

    def writable(self) -> None:
        """Send what waits; call when the client reads again."""
        self._send(self._unsent)
        self._watch()

    def stop_waiting(self) -> None:
        """Close; called when it has no request in hand and its place is needed."""
        self.close()

    def close(self) -> None:
        """Close at once; an open connection or a closed one."""
        if self.state is not State.CLOSED:
            self.release().close()

    def release(self) -> socket.socket:
        """Leave the lane, and return the socket, still open; only once."""
        self._enter(State.CLOSED)
        self._lane.forget(self)
        return self.sock

    def _enter(self, state: State) -> None:
        """Go into a state that may follow; the time that it may take begins now."""
        self.state = state
        self.deadline = self._lane.now + self._lane.seconds[state]

    @abstractmethod
    def _has_answered(self) -> None:
        """Go on, or linger; called when the answer has left whole."""

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
        """Keep it until the client reads again. The time for that begins once, not with each piece."""
        if self.state is not State.FLUSH:
            self._enter(State.FLUSH)
        self._unsent = left

    def _send_now(self, data: bytes) -> bytes | None:
        """Return what could not be sent yet; None if the client is gone."""
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
        self._enter(State.LINGER)
        self.protocol.buffer = b""
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
