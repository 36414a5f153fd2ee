"""One connection of the fast lane: what to do when it is readable, answered, or out of time.

Its states, and how bytes are sent, are in `socket.py`. All of it is synchronous and runs in the lane's one task.
"""

import socket
import time
from typing import Protocol

from server.base.refusal import Refusal
from server.http.answer import CONTINUE, Answer, encode_answer, refusal_answer
from server.http.fast.head_cache import HeadCache
from server.http.fast.ingest_head import IngestHead, OtherRequest
from server.http.fast.socket import FastSocket, SocketLane, State
from server.http.frontend import (
    BROKEN_BODY,
    BROKEN_HEAD,
    HEAD_READ_BYTES,
    READ_BYTES,
    ROOM_LOOK_SECONDS,
    SLOW_BODY,
    Denial,
    Entry,
    Listener,
    Observe,
    RefusedRequest,
    RequestGate,
    delivery_refused,
    for_page,
    refused_delivery,
)
from server.http.head import TOO_SLOW as HEAD_TOO_SLOW
from server.http.head import received_line
from server.intake.intake import DeliveryHead
from server.observe.refusals import Grounds


class ConnectionLane(SocketLane, Protocol):
    """What a connection needs from its lane."""

    listener: Listener
    observe: Observe
    batch: "list[FastConnection]"
    full_until: float

    @property
    def gate(self) -> RequestGate: ...
    def reschedule(self, connection: "FastConnection") -> None: ...
    def hand_over(self, connection: "FastConnection") -> None: ...


class FastConnection(FastSocket):
    """One accepted socket. The lane owns and calls it; it calls the lane to be watched, handed over or forgotten."""

    __slots__ = ("_entry", "_ingest", "answers", "body", "head", "started")

    _lane: ConnectionLane

    def __init__(self, lane: ConnectionLane, sock: socket.socket, peer: str, heads: HeadCache) -> None:
        super().__init__(lane, sock, peer, heads)
        self.answers = 0
        self._ingest: IngestHead | None = None
        self._entry: Entry | None = None
        self.head: DeliveryHead
        self.body = b""
        """Of a request in the lane's batch, until it is admitted or served alone."""
        self.started = lane.now
        """When the current request arrived; monotonic seconds."""

    def on_readable(self) -> None:
        """Read once and process what arrived; call when the client sent something, or closed.

        A request that arrives in one piece, as most do, joins the batch of this turn.
        """
        has_room = self._lane.now > self._lane.full_until or self.state is State.BODY
        try:
            data = self.sock.recv(READ_BYTES if has_room else HEAD_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if self.state is State.IDLE:
            if self.is_authenticated and (plain := self.protocol.plain_request(data)) is not None:
                self._ingest, self.body = plain
                self.head = self._ingest.head
                self.protocol.buffer = data  # in case it is served alone
                self.started = self._lane.now
                self._lane.batch.append(self)
                return
            self._enter(State.HEAD)
        self._on_data(data)
        self._watch()

    def _on_data(self, data: bytes) -> None:
        if self.state is State.LINGER:
            if not data:
                self.close()
            return
        if data:
            self.protocol.receive(data)
        else:
            self.at_end = True
        self._process_buffer()

    def advance(self) -> None:
        """Process the buffered bytes; a request of the batch is served alone."""
        self.body = b""
        if self.state is State.IDLE:
            self._enter(State.HEAD)
        self._process_buffer()
        self._watch()

    def wait_for_answer(self) -> None:
        """Drop the request's bytes; call when it was admitted with the batch."""
        self.protocol.buffer = self.body = b""
        self._enter(State.ANSWER)

    def reply(self, data: bytes) -> bool:
        """Send the answer to a request of the batch; return whether all of it was sent."""
        if self.state is State.CLOSED:
            return False
        left = self._send_now(data)
        if left:
            self._keep(left)
            self._watch()
        elif left is not None:
            self._on_answer_sent()
        return left == b""

    def on_deadline(self) -> None:
        """Refuse the request that has begun, let it ask again, or close; call when the deadline has passed.

        What has come by now is in time: the lane itself may have been late, and not looked for so long.
        """
        if self._watched[0] and self._is_in_time():
            return
        if self.state is State.HEAD and self.protocol.buffer:
            self._refuse_head(HEAD_TOO_SLOW)
        elif self.state is State.BODY:
            self._refuse_body(SLOW_BODY)
        elif self.state is State.ROOM:
            self._enter_gate()
            self._process_buffer()
        else:
            self.close()
        self._watch()

    def _is_in_time(self) -> bool:
        """Read what has come; return whether that set another deadline, or makes a request of the batch."""
        self.on_readable()
        return self.deadline > self._lane.now or (self.state is State.IDLE and bool(self.protocol.buffer))

    def close(self) -> None:
        """Close at once. A submitted request is still committed."""
        if self.state not in (State.ANSWER, State.CLOSED):  # a submitted entry is closed with its answer
            self._close_entry()
        super().close()

    def _process_buffer(self) -> None:
        if self.state is State.HEAD:
            self._next_head()
        if self.state is State.BODY:
            self._next_body()

    def _next_head(self) -> None:
        found = self.protocol.next_head()
        if found is None:
            if self.at_end:
                self._refuse_head(BROKEN_HEAD) if self.protocol.buffer else self.close()
        elif isinstance(found, IngestHead):
            self._ask_gate(found)
        elif isinstance(found, OtherRequest):
            self._lane.hand_over(self)
        else:
            self._refuse_head(found)

    def _ask_gate(self, ingest: IngestHead) -> None:
        self._lane.connections.mark_busy(self)
        self._ingest, self.started = ingest, self._lane.now
        self._enter_gate()

    def _enter_gate(self) -> None:
        """Be let in, be refused, or wait for room and ask again."""
        assert self._ingest is not None
        lane, ingest, head = self._lane, self._ingest, self._ingest.head
        entry = lane.gate.enter(head)
        if isinstance(entry, Denial):
            if entry.may_wait(self.started, lane.now):
                lane.full_until = lane.now + ROOM_LOOK_SECONDS
                self._enter(State.ROOM)
            else:
                self._refuse_delivery(entry.refusal, entry.source_id, entry.grounds)
            return
        self.is_authenticated |= bool(entry.source_id)
        self._entry = entry
        self._enter(State.BODY)
        invites = ingest.expects_continue and not self.protocol.buffer and head.content_length != 0
        if invites and self._send_now(CONTINUE):
            self.close()  # the client reads nothing: the rest of this line would end up in its answer

    def _next_body(self) -> None:
        assert self._entry is not None
        body = self.protocol.next_body(self._entry.grow)
        if body is None:
            if self.protocol.has_more:
                self._lane.reschedule(self)
            elif self.at_end:
                self._refuse_body(BROKEN_BODY)
        elif isinstance(body, Refusal):
            self._refuse_body(body)
        else:
            self._enter(State.ANSWER)
            self._entry.submit(body, self.on_answer)

    def on_answer(self, answer: Answer | Exception) -> None:
        """Send the answer to the current request, or report our bug and close; called by the gate."""
        assert self._ingest is not None
        source_id = self._ingest.head.source_id if self._entry is None else self._entry.source_id
        self.is_authenticated |= bool(source_id)
        self._close_entry()
        if isinstance(answer, Exception):
            self._lane.listener.on_error(answer)
            self.close()
            return
        lane, head = self._lane, self._ingest.head
        seconds = time.monotonic() - self.started
        refused = refused_delivery(head, source_id, answer.grounds) if answer.code else None
        lane.observe(answer.status, answer.code, seconds, refused)
        if self.state is State.CLOSED:
            return
        self._is_last = answer.close or self._ingest.is_last or lane.listener.is_draining
        self._send(encode_answer(for_page(lane.gate, head, answer), last=self._is_last))
        self._watch()

    def _refuse_body(self, refusal: Refusal) -> None:
        assert self._entry is not None
        self._refuse_delivery(refusal, self._entry.source_id, self._entry.grounds(refusal))

    def _refuse_delivery(self, refusal: Refusal, source_id: str, grounds: Grounds | None) -> None:
        assert self._ingest is not None
        head = self._ingest.head
        answer = for_page(self._lane.gate, head, delivery_refused(head, refusal, close=True))
        self._refuse(answer, refused_delivery(head, source_id, grounds))

    def _refuse_head(self, refusal: Refusal) -> None:
        refused = RefusedRequest(self.protocol.peer, received_line(self.protocol.buffer))
        self._refuse(refusal_answer(refusal, close=True), refused)

    def _refuse(self, answer: Answer, refused: RefusedRequest) -> None:
        """Refuse before the whole request was read, so this answer is the connection's last."""
        self._close_entry()
        seconds = time.monotonic() - self.started
        self._lane.observe(answer.status, answer.code, seconds, refused)
        self._is_last = True
        self._send(encode_answer(answer, last=True))

    def _on_answer_sent(self) -> None:
        lane = self._lane
        self.answers += 1
        if self._is_last or lane.listener.is_draining:
            self._linger()
        elif self.protocol.buffer or self.at_end:
            self._enter(State.HEAD)
            lane.reschedule(self)
        else:
            self._enter(State.IDLE)

    def _close_entry(self) -> None:
        """Close the entry of the current request, if there is one."""
        if self._entry is not None:
            self._entry.close()
            self._entry = None
