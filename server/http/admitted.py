"""A request of a known sender: its body is counted as it grows, decided on when it is whole, and handed to the flow."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from server.base.byte_budget import ByteBudget
from server.base.clock import Clock
from server.base.refusal import UNAUTHORIZED, Refusal, refuse
from server.flow.acknowledger import Acknowledger
from server.flow.senders import Authenticated
from server.flow.source_state import SourceState
from server.http.answer import Answer, handshake_answer
from server.http.counted import CountedRequest, OnAnswer
from server.http.grounds import grounds_of
from server.http.turns import Turns
from server.intake import intake
from server.intake.claims import Claim
from server.intake.handshakes import Handshake
from server.intake.intake import Admission, DeliveryHead, IntakeLimits
from server.intake.parse import Body
from server.intake.schemes import secret_of
from server.observe.health import storage_refusal
from server.observe.refusals import Grounds
from storage.deliveries import Deliveries, NumberedDeliveries
from storage.errors import StoreError


class Admitting(Protocol):
    """What such a request needs of the gate."""

    @property
    def acknowledger(self) -> Acknowledger: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def in_flight(self) -> ByteBudget: ...
    @property
    def intake_limits(self) -> IntakeLimits: ...
    @property
    def turns(self) -> Turns: ...
    @property
    def unknown(self) -> ByteBudget: ...
    @property
    def unknown_limits(self) -> IntakeLimits: ...
    def is_backlogged(self, state: SourceState, /) -> bool: ...
    def backlog_refusal(self) -> Refusal: ...


class AdmittedRequest(CountedRequest):
    """One admitted request: counts its body as it grows, then submits it; the acknowledger calls it back."""

    __slots__ = ("_admission", "_budget", "_claims", "_gate", "_holder", "_limits", "_source", "_state")

    def __init__(self, gate: Admitting, sender: Authenticated, head: DeliveryHead, claims: Sequence[Claim]) -> None:
        super().__init__(head, gate.turns)
        self._gate = gate
        self._claims = claims
        self._state = sender.state
        self._source = sender.source
        is_unknown = not sender.source.token_digests  # its body decides whether it has a sender
        limits = gate.intake_limits
        if is_unknown and secret_of(sender.source) is not None:  # and is decoded and parsed for that
            limits = intake.stricter(limits, gate.unknown_limits)
        self._limits = intake.limits_of(sender.source, limits)
        self._admission: Admission
        self._budget, self._holder = gate.in_flight, self._state.id
        if is_unknown and self._limits.body_bytes_max <= gate.unknown.bytes_max:
            self._budget, self._holder = gate.unknown, head.remote_addr

    @property
    def source_id(self) -> str:
        return self._state.id

    def reserve(self, count: int) -> Refusal | None:
        """Reserve room for `count` more bytes, or refuse them."""
        if self._held + count > self._limits.body_bytes_max:
            return refuse("too_large", f"the body is over {self._limits.body_bytes_max} bytes")
        return self._reserve_in_flight(count)

    def grounds(self, refusal: Refusal, body: bytes = b"") -> Grounds:
        is_verified = bool(body) and refusal.code != UNAUTHORIZED.code
        return grounds_of(self._source, self._head, refusal, body, is_verified=is_verified)

    def check_decoded(self, body: Body) -> Refusal | None:
        """Refuse a body that was opened within other limits, and is too large by its source's own."""
        bytes_max = self._limits.decoded_bytes_max
        too_large = len(body.text) > bytes_max
        return refuse("too_large", f"the decoded body is larger than {bytes_max} bytes") if too_large else None

    def submit_opened(self, body: Body, answer: OnAnswer) -> None:
        """Do what `submit` does at once, with a body whose turn has come."""
        self._begin(answer)
        self._decide(partial(self._admit_opened, body))

    def _begin(self, answer: OnAnswer) -> None:
        super()._begin(answer)
        if self._head.is_retried:
            self._state.counts.retried_requests += 1

    def _admit(self, body: bytes) -> Refusal | None:
        now_ms = self._gate.clock.now_ms()
        return self._hand_over(intake.read(self._source, self._head, body, now_ms, self._limits, claims=self._claims))

    def _admit_opened(self, body: Body) -> Refusal | None:
        now_ms = self._gate.clock.now_ms()
        return self._hand_over(intake.read_opened(self._source, self._head, body, now_ms, self._limits))

    def _hand_over(self, reading: Deliveries | Handshake | Refusal) -> Refusal | None:
        """Charge the rate limit and hand over what was read, or return why not."""
        gate, state, source = self._gate, self._state, self._source
        if isinstance(reading, Refusal):
            return reading
        if isinstance(reading, Handshake):
            self._reply(handshake_answer(reading))
            return None
        if (refusal := self._hold_as_known() or self._check_room(reading)) is not None:
            return refusal
        limited_by = state.source or source  # as the limiter, which a reload has reconfigured meanwhile
        self._admission = intake.admit(reading, limited_by, state.limiter, state.deferring, gate.clock.monotonic_ns())
        gate.acknowledger.append(state, self._admission, self._committed)
        return None

    def _hold_as_known(self) -> Refusal | None:
        """Hold its bytes among those of known senders from now on."""
        if self._budget is self._gate.in_flight:
            return None
        held = self._held
        self._release()
        self._budget, self._holder = self._gate.in_flight, self._state.id
        return self._reserve_in_flight(held)

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

    def _reserve_in_flight(self, count: int) -> Refusal | None:
        if not self._budget.reserve(self._holder, count):
            return refuse("overloaded", "too many bytes are in flight")
        self._held += count
        return None

    def _release(self) -> None:
        if self._held:
            self._budget.release(self._holder, self._held)
            self._held = 0
