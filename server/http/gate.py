"""The gate: the one step between HTTP and the flow that both front ends call, so that they cannot differ.

Order, as promised to users: draining, full or failed → source and token, the signature's headers → backlog → body size
and time (checked here as the body grows) → everything about the body (intake) → rate limit → acknowledger → answer.
There is no checkpoint in between: a body is decided on, charged and handed over in one synchronous step. That of a
heavy body comes when it is its turn (`turns.py`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from server.base.byte_budget import ByteBudget
from server.base.clock import Clock
from server.base.refusal import UNAUTHORIZED, Refusal, refuse, unauthorized
from server.config.settings import LimitsConfig
from server.flow.acknowledger import Acknowledger
from server.flow.engine import Engine
from server.flow.senders import Authenticated, Senders
from server.flow.source_state import SourceState
from server.http.answer import Answer, handshake_answer, refusal_answer
from server.http.frontend import Denial
from server.http.grounds import grounds_of, grounds_of_stranger
from server.http.turns import Turns, is_light
from server.intake import intake
from server.intake.auth import why_unknown
from server.intake.handshakes import Handshake, asks_by_get, on_get, why_not_asked
from server.intake.intake import Admission, DeliveryHead
from server.intake.read_many import Request, read_many
from server.intake.schemes import Claim
from server.observe.health import Health, storage_refusal
from server.observe.refusals import Grounds
from storage.deliveries import Deliveries, NumberedDeliveries
from storage.errors import StoreError

OnAnswer = Callable[[Answer | Exception], None]


R = TypeVar("R", bound=Request)
R_contra = TypeVar("R_contra", bound=Request, contravariant=True)


class BatchReply(Protocol[R_contra]):
    """Where the requests of a batch come from, and where their answers go."""

    def admit(self, requests: Sequence[R_contra]) -> None:
        """Note that these are admitted: each gets its answer later, and is not looked at until then."""

    def answer(self, requests: Sequence[R_contra], bodies: Sequence[bytes]) -> None:
        """Answer each with a 200 and its body. The bodies have equal lengths."""

    def answer_each(self, requests: Sequence[R_contra], answers: Sequence[Answer]) -> None:
        """Answer each with its own answer."""


class Gate:
    """Admits requests, or refuses them."""

    def __init__(
        self,
        engine: Engine,
        acknowledger: Acknowledger,
        health: Health,
        *,
        limits: LimitsConfig,
        backlog_events_max: int,
        clock: Clock,
    ) -> None:
        self._senders = Senders(engine)
        self._health = health
        self._backlog_events_max = backlog_events_max
        self.acknowledger = acknowledger
        self.turns = Turns()
        self.clock = clock
        self.body_bytes_max = limits.body_bytes_max
        self.in_flight = ByteBudget(limits.in_flight_bytes_max)
        self.intake_limits = intake.IntakeLimits(
            body_bytes_max=limits.body_bytes_max,
            decoded_bytes_max=limits.decoded_bytes_max,
            json_containers_max=limits.json_containers_max,
            batch_events_max=limits.batch_events_max,
        )

    def enter(self, head: DeliveryHead) -> "AdmittedRequest | Denial":
        """Check what can be checked before the body is read. An admitted request must be closed, whatever happens."""
        refusal = self._health.refusal()
        if refusal is not None:
            return self._deny(head, refusal)
        sender = self._senders.authenticate(head.source_id, head.authorization)
        if sender is None:
            return self._deny(head, why_unknown(head.authorization))
        claims: Sequence[Claim] = ()
        if sender.source.signing_keys:
            found = intake.claims_of(sender.source, head.scanned, self.clock.now_ms())
            if isinstance(found, Refusal):
                return Denial(found, grounds=grounds_of(sender.source, head, found))
            claims = found
        if self.is_backlogged(sender.state):
            refusal = self.backlog_refusal()
            return Denial(refusal, head.source_id, grounds_of(sender.source, head, refusal))
        request = AdmittedRequest(self, sender, head, claims)
        if head.content_length and (refusal := request.reserve(head.content_length)) is not None:
            lacks_room = refusal.code == "overloaded"
            return Denial(refusal, head.source_id, request.grounds(refusal), lacks_room=lacks_room)
        return request

    def _deny(self, head: DeliveryHead, refusal: Refusal) -> Denial:
        """Refuse a request whose sender is not known: the same work for a source that does not exist."""
        return Denial(refusal, grounds=grounds_of_stranger(self._senders.source(head.source_id), head, refusal))

    def handshake(self, source_id: str, query: bytes) -> Answer | None:
        """Return the answer to a GET of a source whose vendor asks by one; None if this source is not asked so."""
        source = self._senders.source(source_id)
        if source is None or not asks_by_get(source):
            return None
        refusal = self._health.refusal()
        asked = None if refusal is not None else on_get(source, query)
        if asked is not None:
            return handshake_answer(asked)
        refusal = refusal or unauthorized(why_not_asked(source))
        return refusal_answer(refusal, close=False, grounds=Grounds(source.id, refusal.why))

    def submit_batch(self, requests: Sequence[R], reply: BatchReply[R]) -> Sequence[R]:
        """Submit together the requests that hold a plain event each, source by source; answer them through `reply`.

        All must have arrived whole. Return the others, to be submitted one by one.
        """
        if self._health.refusal() is not None:
            return requests
        alone: list[R] = []
        by_sender: dict[Authenticated, list[R]] = {}
        by_head: dict[int, list[R]] = {}
        for request in requests:
            head = request.head
            those = by_head.get(id(head))
            if those is None:
                sender = self._senders.authenticate(head.source_id, head.authorization)
                unsigned = sender is not None and not sender.source.signing_keys
                those = by_head[id(head)] = by_sender.setdefault(sender, []) if sender and unsigned else alone
            those.append(request)
        for sender, those in by_sender.items():
            alone += self._submit_plain(sender, those, reply)
        return alone

    def _submit_plain(self, sender: Authenticated, requests: list[R], reply: BatchReply[R]) -> Sequence[R]:
        """Submit the plain ones; return the others, or all unless every one is certain to be admitted."""
        state, source = sender.state, sender.source
        now_ns, count = self.clock.monotonic_ns(), len(requests)
        is_full = 0 < self._backlog_events_max < state.pending + count
        if is_full or state.deferring or not state.limiter.would_admit(count, now_ns):
            return requests
        try:
            plain, deliveries, others = read_many(source, requests, self.clock.now_ms(), self.intake_limits)
        except Exception:  # noqa: BLE001  # a bug: the request at fault fails again, and is reported, when alone
            return requests
        size = sum([len(request.body) for request in plain])
        if deliveries is None or not self.in_flight.reserve(state.id, size):
            return requests
        reply.admit(plain)
        self.turns.small_came()
        state.limiter.admit(deliveries.count, now_ns)

        def committed(result: NumberedDeliveries | StoreError) -> None:
            self.in_flight.release(state.id, size)
            if isinstance(result, NumberedDeliveries):
                reply.answer(plain, intake.answer_bodies(source, result.delivery_ids()))
            else:
                refusal = storage_refusal(result)
                grounds = [grounds_of(source, request.head, refusal) for request in plain]
                reply.answer_each(plain, [refusal_answer(refusal, close=False, grounds=each) for each in grounds])

        self.acknowledger.append(state, Admission(deliveries, deliveries.count), committed)
        return others

    def is_backlogged(self, state: SourceState) -> bool:
        """Return whether the source has as many pending events as allowed."""
        return 0 < self._backlog_events_max <= state.pending

    def backlog_refusal(self) -> Refusal:
        return refuse("overloaded", f"{self._backlog_events_max} events of this source are pending already")


class AdmittedRequest:
    """One admitted request: counts its body as it grows, then submits it; the acknowledger calls it back."""

    __slots__ = (
        "_admission",
        "_answer",
        "_claims",
        "_gate",
        "_head",
        "_held",
        "_is_heavy",
        "_received",
        "_source",
        "_state",
        "_submitted",
    )

    def __init__(self, gate: Gate, sender: Authenticated, head: DeliveryHead, claims: Sequence[Claim]) -> None:
        self._gate = gate
        self._claims = claims
        self._state = sender.state
        self._source = sender.source
        self._head = head
        self._held = 0
        self._received = 0
        self._is_heavy = False
        self._submitted = False
        self._admission: Admission
        self._answer: OnAnswer

    def grow(self, count: int) -> Refusal | None:
        """Count bytes of the body that have arrived; refuse them if they are too many."""
        self._received += count
        missing = self._received - self._held
        return self.reserve(missing) if missing > 0 else None

    def reserve(self, count: int) -> Refusal | None:
        """Reserve room for `count` more bytes, or refuse them."""
        if self._held + count > self._gate.body_bytes_max:
            return refuse("too_large", f"the body is over {self._gate.body_bytes_max} bytes")
        return self._reserve_in_flight(count)

    def submit(self, body: bytes, answer: OnAnswer) -> None:
        """Decide on the whole body, now or when it is its turn. `answer` is called exactly once, perhaps before this
        returns; with an exception if that is our bug, and nothing was handed over.
        """
        self._answer, self._submitted = answer, True
        turns = self._gate.turns
        if is_light(body, self._head.scanned.content_encoding):
            turns.small_came()
            self._decide(body)
        else:
            self._is_heavy = True
            turns.take(self._state.id, partial(self._decide, body))

    def close(self) -> None:
        """Release its memory; call when the request is over or its client gone. If it was submitted, its memory stays
        reserved until its answer.
        """
        if not self._submitted:
            self._release_bytes()

    def _decide(self, body: bytes) -> None:
        try:
            refusal = self._admit(body)
        except Exception as error:  # noqa: BLE001  # contained: reported by the front end
            self._reply(error)
            return
        if refusal is not None:
            self._refuse(refusal, body)

    def _admit(self, body: bytes) -> Refusal | None:
        """Read the body, charge the rate limit and hand it over, or return why not."""
        gate, state, source = self._gate, self._state, self._source
        reading = intake.read(source, self._head, body, gate.clock.now_ms(), gate.intake_limits, claims=self._claims)
        if isinstance(reading, Refusal):
            return reading
        if isinstance(reading, Handshake):
            self._reply(handshake_answer(reading))
            return None
        if (refusal := self._check_room(reading)) is not None:
            return refusal
        limited_by = state.source or source  # as the limiter, which a reload has reconfigured meanwhile
        self._admission = intake.admit(reading, limited_by, state.limiter, state.deferring, gate.clock.monotonic_ns())
        gate.acknowledger.append(state, self._admission, self._committed)
        return None

    def _check_room(self, reading: Deliveries) -> Refusal | None:
        """Check again: the backlog may have filled meanwhile, and the decoded body takes memory until its commit."""
        if self._gate.is_backlogged(self._state):
            return self._gate.backlog_refusal()
        missing = reading.size - self._held
        return self._reserve_in_flight(missing) if missing > 0 else None

    def _committed(self, result: NumberedDeliveries | StoreError) -> None:
        if isinstance(result, NumberedDeliveries):
            [delivery_id] = result.delivery_ids()
            self._reply(Answer(200, intake.answer_body(self._source, self._admission, delivery_id)))
        else:
            self._refuse(storage_refusal(result))

    def grounds(self, refusal: Refusal) -> Grounds:
        """Return what is recorded of the request if it is refused before its body is whole."""
        return grounds_of(self._source, self._head, refusal)

    def _refuse(self, refusal: Refusal, body: bytes = b"") -> None:
        is_unknown = refusal.code == UNAUTHORIZED.code
        grounds = grounds_of(self._source, self._head, refusal, body, is_verified=not is_unknown)
        self._reply(refusal_answer(refusal, close=is_unknown, grounds=grounds))  # as for a wrong token, to the byte

    def _reply(self, answer: Answer | Exception) -> None:
        self._release_bytes()
        if self._is_heavy:
            self._gate.turns.answered()
        self._answer(answer)

    def _reserve_in_flight(self, count: int) -> Refusal | None:
        if not self._gate.in_flight.reserve(self._state.id, count):
            return refuse("overloaded", "too many bytes are in flight")
        self._held += count
        return None

    def _release_bytes(self) -> None:
        if self._held:
            self._gate.in_flight.release(self._state.id, self._held)
            self._held = 0
