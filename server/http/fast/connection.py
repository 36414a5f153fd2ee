"""One connection of the fast lane: what to do when it is readable, answered, or out of time.

How bytes leave, and how it ends, is in `socket.py`. All of it is synchronous and runs in the lane's one task. The
states, in order, and then from the first again: HEAD (waits for a request), BODY (let in, its body is coming), ANSWER
(handed over, waits for its commit), FLUSH (the client does not read as fast as we write), and at the end LINGER (says
nothing more, discards what comes), CLOSED.
"""

import math
import socket
from typing import Protocol as Interface

from server.base.refusal import Refusal
from server.http.answer import Answer, refusal_answer, written
from server.http.fast.protocol import Delivery, Elsewhere, Heads
from server.http.fast.socket import FastSocket, SocketLane, State
from server.http.frontend import BROKEN_BODY, BROKEN_HEAD, READ_BYTES, SLOW_BODY, EntryProtocol, GateProtocol, Observe
from server.http.head import TOO_SLOW as HEAD_TOO_SLOW
from server.http.remote import sender
from server.intake.intake import Head

CONTINUE = b"HTTP/1.1 100 \r\n\r\n"


class ConnectionLane(SocketLane, Interface):
    """What a connection needs of its lane."""

    observe: Observe
    whole: "list[FastConnection]"

    @property
    def gate(self) -> GateProtocol: ...
    @property
    def is_draining(self) -> bool: ...
    def time(self) -> float: ...
    def date(self) -> bytes: ...
    def again(self, connection: "FastConnection") -> None: ...
    def hand_over(self, connection: "FastConnection") -> None: ...


class FastConnection(FastSocket):
    """One accepted socket. Its owner, the lane, calls it; it calls the lane to be watched, handed over or forgotten."""

    __slots__ = ("_delivery", "_entry", "answers", "body", "head", "started")

    _lane: ConnectionLane

    def __init__(self, lane: ConnectionLane, sock: socket.socket, peer: str, heads: Heads, now: float) -> None:
        super().__init__(lane, sock, peer, heads, now)
        self.answers = 0
        self._delivery: Delivery | None = None
        self._entry: EntryProtocol | None = None
        self.head: Head
        self.body = b""
        """Of a request that came whole, until it is let in or goes alone."""
        self.started = now
        """When the request in hand came."""

    def readable(self) -> None:
        """The client sent something, or closed."""
        try:
            data = self.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if self.state is State.HEAD and self.answers and not self.protocol.buffer:
            if self.is_known and self._is_whole(data):
                return
            if data:
                self.deadline = self._lane.now + self._lane.limits.header_timeout_seconds
        self._received(data)
        self._watch()

    def _received(self, data: bytes) -> None:
        if self.state is State.LINGER:
            if not data:
                self.close()
            return
        if data:
            self.protocol.receive(data)
        else:
            self.at_end = True
        self._go_on()

    def _is_whole(self, data: bytes) -> bool:
        """A request came in one piece, as most do: it may go in together with the others of this turn."""
        found = self.protocol.whole(data)
        if found is None:
            return False
        delivery, self.body = found
        if delivery.is_last or delivery.expects_continue:
            return False
        self.protocol.buffer = data  # for when it goes alone
        self._delivery = delivery
        self.head = delivery.head
        self.started = self._lane.now
        self._lane.whole.append(self)
        return True

    def advance(self) -> None:
        """Go as far as the bytes in hand reach; a request that came whole, too."""
        self.body = b""
        self._go_on()
        self._watch()

    def go(self) -> None:
        """The request that came whole was let in, together with others."""
        self.protocol.buffer = self.body = b""
        self.state = State.ANSWER
        self.deadline = math.inf

    def reply(self, data: bytes) -> bool:
        """The answer to a request that was let in together with others. False where it has not left whole."""
        if self.state is State.CLOSED:
            return False
        left = self._send_now(data)
        if left:
            self._is_last = False
            self.state = State.FLUSH
            self._keep(left)
            self._watch()
        elif left is not None:
            self._has_answered()
        return left == b""

    def _go_on(self) -> None:
        if self.state is State.HEAD:
            self._next_delivery()
        if self.state is State.BODY:
            self._next_body()

    def out_of_time(self) -> None:
        """The deadline has passed."""
        if self.state is State.HEAD and self.protocol.buffer:
            self._refuse(HEAD_TOO_SLOW)
        elif self.state is State.BODY:
            self._refuse(SLOW_BODY, self._delivery)
        else:
            self.close()
        self._watch()

    def close(self) -> None:
        """Nothing more to or from this client. What it handed over goes on."""
        if self.state not in (State.ANSWER, State.CLOSED):  # what was submitted leaves with its answer
            self._leave()
        super().close()

    def _next_delivery(self) -> None:
        found = self.protocol.next_delivery()
        if found is None:
            if self.at_end:
                self._refuse(BROKEN_HEAD) if self.protocol.buffer else self.close()
        elif isinstance(found, Delivery):
            self._enter(found)
        elif isinstance(found, Elsewhere):
            self._lane.hand_over(self)
        else:
            self._refuse(found)

    def _enter(self, delivery: Delivery) -> None:
        lane = self._lane
        lane.connections.fell_busy(self)
        self.started = lane.now
        entry = lane.gate.enter(delivery.head)
        if isinstance(entry, Refusal):
            self._refuse(entry, delivery)
            return
        self.is_known = True
        self._delivery, self._entry = delivery, entry
        self.state = State.BODY
        self.deadline = lane.now + lane.limits.body_timeout_seconds
        invites = delivery.expects_continue and not self.protocol.buffer and delivery.head.content_length != 0
        if invites and self._send_now(CONTINUE):
            self.close()  # a client that reads nothing: the rest of the line would stand in its answer

    def _next_body(self) -> None:
        assert self._entry is not None
        body = self.protocol.next_body(self._entry.grow)
        if body is None:
            if self.protocol.has_more:
                self._lane.again(self)
            elif self.at_end:
                self._refuse(BROKEN_BODY, self._delivery)
        elif isinstance(body, Refusal):
            self._refuse(body, self._delivery)
        else:
            self.state = State.ANSWER
            self.deadline = math.inf
            self._entry.submit(body, self.answered)

    def answered(self, answer: Answer) -> None:
        """The request in hand is decided."""
        assert self._delivery is not None
        self._leave()
        lane = self._lane
        seconds = lane.time() - self.started
        if answer.code:
            lane.observe(answer.status, answer.code, seconds, *sender(self._delivery.head))
        else:
            lane.observe(answer.status, "", seconds)
        if self.state is State.CLOSED:
            return
        self._is_last = answer.close or self._delivery.is_last or lane.is_draining
        self.state = State.FLUSH
        self._send(written(answer, lane.date(), last=self._is_last))
        self._watch()

    def _refuse(self, refusal: Refusal, delivery: Delivery | None = None) -> None:
        """An answer before all of the request was read: the connection's last."""
        self._leave()
        answer = refusal_answer(refusal, close=True)
        who = sender(delivery.head) if delivery is not None else (self.protocol.peer, "")
        self._lane.observe(answer.status, answer.code, self._lane.time() - self.started, *who)
        self._is_last = True
        self.state = State.FLUSH
        self._send(written(answer, self._lane.date(), last=True))

    def _has_answered(self) -> None:
        lane = self._lane
        self.answers += 1
        if self._is_last or lane.is_draining:
            self._linger()
            return
        self.state = State.HEAD
        if self.protocol.buffer or self.at_end:
            self.deadline = lane.now + lane.limits.header_timeout_seconds
            lane.again(self)
        else:
            self.deadline = lane.now + lane.limits.keep_alive_timeout_seconds

    def _leave(self) -> None:
        """The request in hand is over, whatever became of it."""
        if self._entry is not None:
            self._entry.close()
            self._entry = None
