"""The socket of one connection of the fast lane: its states, how it sends, and how it ends.

Nothing here blocks. What cannot be sent at once is kept until the client reads again (FLUSH). After the last answer it
sends no more and discards what arrives (LINGER), then it is CLOSED.
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
from server.http.frontend import LINGER_SECONDS, ROOM_LOOK_SECONDS, ConnectionLimits

BUFFER_BYTES_MAX = 262144
"""Of a pipelining client's next requests; beyond it nothing is read until an answer has been sent."""


class State(IntEnum):
    """The state of a connection. Integers, since each indexes the lane's `seconds`."""

    HEAD = 0
    """Waits for the rest of a request's head; if new, for its first byte."""
    BODY = auto()
    """Admitted: waits for the rest of the body."""
    ROOM = auto()
    """Waits, unread, for room in flight."""
    ANSWER = auto()
    """Submitted: waits for the commit."""
    FLUSH = auto()
    """Answered: waits for a client that does not read as fast as we write."""
    IDLE = auto()
    """Waits for the next request."""
    LINGER = auto()
    """Sends no more: waits for the client to close, and discards what arrives."""
    CLOSED = auto()


class StateRule(NamedTuple):
    """How long a connection may stay in a state, and which states may follow."""

    seconds: Callable[[ConnectionLimits], float]
    following: frozenset[State]


_after_answer = {State.IDLE, State.HEAD, State.LINGER, State.CLOSED}
_refused = {State.FLUSH, State.LINGER, State.CLOSED}

STATES: Mapping[State, StateRule] = {
    State.HEAD: StateRule(lambda limits: limits.header_timeout_seconds, frozenset(_refused | {State.BODY, State.ROOM})),
    State.ROOM: StateRule(lambda _: ROOM_LOOK_SECONDS, frozenset(_refused | {State.BODY, State.ROOM})),
    State.BODY: StateRule(lambda limits: limits.body_timeout_seconds, frozenset(_refused | {State.ANSWER})),
    State.ANSWER: StateRule(lambda _: math.inf, frozenset(_after_answer | {State.FLUSH})),
    State.FLUSH: StateRule(lambda limits: limits.body_timeout_seconds, frozenset(_after_answer)),
    State.IDLE: StateRule(
        lambda limits: limits.keep_alive_timeout_seconds, frozenset({State.HEAD, State.ANSWER, State.CLOSED})
    ),
    State.LINGER: StateRule(lambda _: LINGER_SECONDS, frozenset({State.CLOSED})),
    State.CLOSED: StateRule(lambda _: math.inf, frozenset()),
}


def seconds_by_state(limits: ConnectionLimits) -> Sequence[float]:
    """Return how long a connection may stay in each state, in the states' order."""
    return tuple(STATES[state].seconds(limits) for state in State)


class SocketLane(Protocol):
    """What a socket needs from its lane."""

    connections: Connections
    now: float
    seconds: Sequence[float]

    def watch(self, connection: "FastSocket", *, reading: bool, writing: bool = False) -> None: ...
    def forget(self, connection: "FastSocket") -> None: ...


class FastSocket(ABC):
    """One accepted socket with its unread input. A base class, since a connection that held its socket as a part would
    cost two more look-ups a request."""

    __slots__ = (
        "_is_last",
        "_lane",
        "_unsent",
        "_watched",
        "at_end",
        "deadline",
        "file",
        "is_authenticated",
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
        self.is_authenticated = False
        """Whether the gate has authenticated a sender on it."""
        self.at_end = False
        """Whether the client will send no more."""
        self._unsent = b""
        self._is_last = False
        self._watched = (True, False)
        self._enter(State.HEAD)

    def on_writable(self) -> None:
        """Send what is kept; call when the client reads again."""
        self._send(self._unsent)
        self._watch()

    def stop_waiting(self) -> None:
        """Close; called while idle, when its place is needed."""
        self.close()

    def close(self) -> None:
        """Close at once. Idempotent."""
        if self.state is not State.CLOSED:
            self.release().close()

    def release(self) -> socket.socket:
        """Leave the lane and return the socket, still open. Call only once."""
        self._enter(State.CLOSED)
        self._lane.forget(self)
        return self.sock

    def _enter(self, state: State) -> None:
        """Enter a state; its deadline counts from now."""
        self.state = state
        self.deadline = self._lane.now + self._lane.seconds[state]

    @abstractmethod
    def _on_answer_sent(self) -> None:
        """Continue, or linger; called when the whole answer has been sent."""

    def _send(self, data: bytes) -> None:
        left = self._send_now(data)
        if left is None:
            return
        if left:
            self._keep(left)
            return
        self._unsent = b""
        self._lane.connections.mark_idle(self)
        self._on_answer_sent()

    def _keep(self, left: bytes) -> None:
        """Keep unsent bytes until the client reads again. The deadline counts from the first, not from each piece."""
        if self.state is not State.FLUSH:
            self._enter(State.FLUSH)
        self._unsent = left

    def _send_now(self, data: bytes) -> bytes | None:
        """Send without blocking; return the rest, or None if the client is gone."""
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:
            self.close()
            return None
        return data[sent:] if sent < len(data) else b""

    def _linger(self) -> None:
        """Close after the client has, or after a while: closing with unread bytes would destroy the answer."""
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
        """Watch for useful events only: nothing is read without room for it, while the buffer is full, or while the
        client does not read."""
        if self.state is State.CLOSED:
            return
        writing = bool(self._unsent)
        has_room = self.state is not State.ROOM and len(self.protocol.buffer) < BUFFER_BYTES_MAX
        reading = has_room and not self.at_end and not writing
        if (reading, writing) != self._watched:
            self._watched = (reading, writing)
            self._lane.watch(self, reading=reading, writing=writing)
