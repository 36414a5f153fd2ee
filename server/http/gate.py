"""The gate: the one step between HTTP and the flow that both front ends call, so that they cannot differ.

Order, as promised to users: draining, full or failed → source and token, the signature's headers → backlog → body size
and time (checked here as the body grows) → everything about the body (intake) → rate limit → acknowledger → answer.
There is no checkpoint in between: a body is decided on, charged and handed over in one synchronous step. That of a
heavy body comes when it is its turn (`turns.py`).
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from server.base.byte_budget import ByteBudget
from server.base.clock import Clock
from server.base.refusal import Refusal, refuse, unauthorized
from server.base.source import Source
from server.config.settings import LimitsConfig
from server.flow.acknowledger import Acknowledger
from server.flow.engine import Engine
from server.flow.senders import Authenticated, Senders
from server.flow.source_state import SourceState
from server.http.admitted import AdmittedRequest
from server.http.answer import Answer, handshake_answer, refusal_answer
from server.http.cors import allows, preflight, shared
from server.http.frontend import Denial
from server.http.grounds import MASK, grounds_of, grounds_of_stranger
from server.http.turns import Turns
from server.http.unknown import UnknownRequest
from server.intake import intake
from server.intake.auth import bearer, presented_of, why_unknown
from server.intake.claims import Claim
from server.intake.handshakes import asks_by_get, asks_by_query, on_get, why_not_asked
from server.intake.intake import Admission, DeliveryHead, IntakeLimits
from server.intake.parse import Body
from server.intake.read_many import Request, read_many
from server.intake.sdk_bodies import key_in
from server.intake.signatures import claims_of
from server.observe.health import Health, storage_refusal
from server.observe.refusals import Grounds
from storage.deliveries import NumberedDeliveries
from storage.errors import StoreError

WRONG_KEY = unauthorized("token: neither the body nor its first item has a writeKey of this source")
WRONG_TYPE = unauthorized("route: it is one of SDKs, and this source is not of type segment")

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
        self.in_flight = ByteBudget(limits.in_flight_bytes_max)
        self.intake_limits = IntakeLimits(
            body_bytes_max=limits.body_bytes_max,
            decoded_bytes_max=limits.decoded_bytes_max,
            json_containers_max=limits.json_containers_max,
            batch_events_max=limits.batch_events_max,
        )
        self.unknown = ByteBudget(limits.in_flight_bytes_max // intake.UNKNOWN_SHARE)
        self.unknown_limits = intake.unknown_limits(self.intake_limits, limits.in_flight_bytes_max)

    def enter(self, head: DeliveryHead) -> "AdmittedRequest | UnknownRequest | Denial":
        """Check what can be checked before the body is read. An admitted request must be closed, whatever happens."""
        refusal = self._health.refusal()
        if refusal is not None:
            return self._deny(head, refusal)
        if head.lacks_key:
            return self._enter_unknown(head)
        sender = self._senders.authenticate(head.source_id, head.authorization)
        if sender is None:
            return self._deny(head, why_unknown(head.authorization))
        refusal = _why_elsewhere(sender.source, head, head.authorization)
        if refusal is not None:
            return Denial(refusal, sender.state.id, grounds_of(sender.source, head, refusal))
        claims: Sequence[Claim] = ()
        if sender.source.signing_keys:
            found = claims_of(sender.source, head.scanned, self.clock.now_ms())
            if isinstance(found, Refusal):
                return Denial(found, grounds=grounds_of(sender.source, head, found))
            claims = found
        if self.is_backlogged(sender.state) and not asks_by_query(sender.source, head.query):
            refusal = self.backlog_refusal()
            return Denial(refusal, sender.state.id, grounds_of(sender.source, head, refusal))
        request = AdmittedRequest(self, sender, head, claims)
        if head.content_length and (refusal := request.reserve(head.content_length)) is not None:
            lacks_room = refusal.code == "overloaded"
            return Denial(refusal, sender.state.id, request.grounds(refusal), lacks_room=lacks_room)
        return request

    def known(self, head: DeliveryHead, body: Body, size: int) -> "AdmittedRequest | Denial":
        """Return the request of a head without a key, now that its body of this size is opened; or refuse it."""
        authorization = bearer(key_in(body.value))
        sender = self._senders.authenticate(head.source_id, authorization)
        if sender is None:
            return self._deny(head, WRONG_KEY)
        refusal = _why_elsewhere(sender.source, head, authorization)
        if refusal is None and self.is_backlogged(sender.state):
            refusal = self.backlog_refusal()
        if refusal is not None:
            return Denial(refusal, sender.state.id, grounds_of(sender.source, head, refusal))
        request = AdmittedRequest(self, sender, head, ())
        refusal = request.reserve(size) or request.check_decoded(body)
        if refusal is None:
            return request
        request.close()
        return Denial(refusal, sender.state.id, request.grounds(refusal))

    def grounds_of_stranger(self, head: DeliveryHead, refusal: Refusal) -> Grounds:
        """Return what is recorded of a request whose sender is not known: the same work if there is no such source."""
        return grounds_of_stranger(self._senders.source(head.source_id), head, refusal)

    def _deny(self, head: DeliveryHead, refusal: Refusal) -> Denial:
        return Denial(refusal, grounds=self.grounds_of_stranger(head, refusal))

    def _enter_unknown(self, head: DeliveryHead) -> UnknownRequest | Denial:
        request = UnknownRequest(self, head)
        refusal = request.reserve(head.content_length) if head.content_length else None
        return request if refusal is None else self._deny(head, refusal)

    def preflight(self, source_id: str, origin: bytes | None) -> Answer | None:
        """Return what a browser is answered that asks for a route of SDKs; None where no page may send."""
        origins = self._senders.origins(source_id)
        return preflight(origins, origin) if origins else None

    def shared(self, answer: Answer, source_id: str, origin: bytes) -> Answer:
        """Return an answer on a route of SDKs as a page of this origin may read it, if it may."""
        return shared(answer, self._senders.origins(source_id), origin)

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
                is_plain = sender is not None and head.route is None
                those = by_head[id(head)] = by_sender.setdefault(sender, []) if sender and is_plain else alone
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
            limits = intake.limits_of(source, self.intake_limits)
            plain, deliveries, others = read_many(source, requests, self.clock.now_ms(), limits)
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


def _why_elsewhere(source: Source, head: DeliveryHead, authorization: bytes | None) -> Refusal | None:
    """Return why its source does not take a request with this right token on this route or of this page, else None.

    Only a source of type segment has the routes of SDKs, and it may keep out pages.
    """
    if head.route is None:
        return None
    if source.type != "segment":
        return WRONG_TYPE
    if allows(source.cors_origins, head.origin):
        return None
    shown = (head.origin or b"").replace(presented_of(authorization) or b"\n", MASK.encode()).decode("latin-1")
    return unauthorized(f"origin: {shown!r} is not among cors_origins")
