"""The gate: the one step between HTTP and the flow that every front end calls, so that they cannot differ.

Order, as users are promised: draining, full or failed → source and token → backlog → body size and time (here as it
grows) → everything about the body (intake) → rate limit → acknowledger → answer.
From the decision to the hand-over there is no checkpoint: decided, charged and handed over in one synchronous step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from server.base.byte_budget import ByteBudget
from server.base.clock import Clock
from server.base.refusal import UNAUTHORIZED, Refusal, refuse
from server.base.source import Source
from server.config.settings import LimitsConfig
from server.flow.acknowledger import Acknowledger
from server.flow.engine import Engine
from server.flow.source_state import SourceState
from server.http.answer import Answer, refusal_answer
from server.intake import intake
from server.intake.auth import UNKNOWN_SOURCE_DIGESTS, token_matches, token_of
from server.intake.intake import Admission, Head
from server.intake.read_many import Request, read_many
from server.observe.health import Health, storage_refusal
from storage.deliveries import Deliveries, NumberedDeliveries
from storage.errors import StoreError

OnAnswer = Callable[[Answer], None]


W = TypeVar("W", bound=Request)
W_contra = TypeVar("W_contra", bound=Request, contravariant=True)


class Together(Protocol[W_contra]):
    """Where the requests are from that go in together."""

    def let_in(self, requests: Sequence[W_contra]) -> None:
        """These are on their way to the disk."""

    def answer(self, requests: Sequence[W_contra], bodies: Sequence[bytes]) -> None:
        """They are on disk: what each gets with its 200. The bodies have one length."""

    def answer_each(self, requests: Sequence[W_contra], answers: Sequence[Answer]) -> None:
        """What each gets, whatever it is."""


JUDGED_MAX = 4096
"""Right tokens remembered, by source and Authorization header: more than anybody has."""


class Gate:
    """Lets requests in, or says why not."""

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
        self._engine = engine
        self._health = health
        self._backlog_events_max = backlog_events_max
        self._generation = -1
        self._judged: dict[tuple[str, bytes | None], Judged] = {}
        self.acknowledger = acknowledger
        self.clock = clock
        self.body_bytes_max = limits.body_bytes_max
        self.in_flight = ByteBudget(limits.in_flight_bytes_max)
        self.intake_limits = intake.Limits(
            limits.body_bytes_max, limits.decoded_bytes_max, limits.json_containers_max, limits.batch_events_max
        )

    def enter(self, head: Head) -> "Entry | Refusal":
        """Everything that can be said before the body is read. An entry must be closed, whatever happens."""
        refusal = self._health.refusal()
        if refusal is not None:
            return refusal
        judged = self._judge(head)
        if judged is None:
            head.mark(is_authenticated=False)
            return UNAUTHORIZED
        head.mark(is_authenticated=True)
        if self.backlogged(judged.state):
            return self.backlog_refusal()
        entry = Entry(self, judged, head)
        if head.content_length and (refusal := entry.reserve(head.content_length)) is not None:
            return refusal
        return entry

    def take(self, requests: Sequence[W], lane: Together[W]) -> Sequence[W]:
        """Requests that came whole. Those of one source that hold an event each are read, admitted and committed
        together, and `lane` hears of it. Returns the others: each is to go alone.
        """
        if self._health.refusal() is not None:
            return requests
        alone: list[W] = []
        by_source: dict[Judged, list[W]] = {}
        by_head: dict[int, list[W]] = {}
        for request in requests:
            head = request.head
            those = by_head.get(id(head))
            if those is None:
                judged = self._judge(head)
                head.mark(is_authenticated=judged is not None)
                plain = judged is not None and not judged.source.signing_secrets
                those = by_head[id(head)] = by_source.setdefault(judged, []) if judged and plain else alone
            those.append(request)
        for judged, those in by_source.items():
            alone += self._take_together(judged, those, lane)
        return alone

    def _take_together(self, judged: "Judged", requests: list[W], lane: Together[W]) -> Sequence[W]:
        """Returns what is unusual, and all where not all of them are sure to be let in."""
        state, source = judged.state, judged.source
        now_ns, count = self.clock.monotonic_ns(), len(requests)
        is_full = 0 < self._backlog_events_max < state.pending + count
        if is_full or state.deferring or not state.limiter.has(count, now_ns):
            return requests
        try:
            taken, deliveries, left = read_many(source, requests, self.clock.now_ms(), self.intake_limits)
        except Exception:  # noqa: BLE001  # a fault of ours: whichever it is about fails when it goes alone, and is heard of
            return requests
        size = sum([len(request.body) for request in taken])
        if deliveries is None or not self.in_flight.reserve(state.id, size):
            return requests
        lane.let_in(taken)
        state.limiter.take(deliveries.count, now_ns)

        def committed(result: NumberedDeliveries | StoreError) -> None:
            self.in_flight.release(state.id, size)
            if isinstance(result, NumberedDeliveries):
                lane.answer(taken, intake.answers(source, result.delivery_ids()))
            else:
                lane.answer_each(taken, [refusal_answer(storage_refusal(result), close=False)] * len(taken))

        self.acknowledger.append(state, Admission(deliveries, deliveries.count), committed)
        return left

    def _judge(self, head: Head) -> "Judged | None":
        """The source, if the token is one of its own. What was found right is remembered until the next reload."""
        if self._generation != self._engine.generation or len(self._judged) >= JUDGED_MAX:
            self._generation = self._engine.generation
            self._judged.clear()
        key = (head.source_id, head.authorization)
        found = self._judged.get(key)
        if found is None:
            found = self._look_at(head)
            if found is not None:
                self._judged[key] = found
        return found

    def _look_at(self, head: Head) -> "Judged | None":
        state = self._engine.state(head.source_id)
        source = state.source if state is not None else None
        digests = source.token_digests if source is not None else UNKNOWN_SOURCE_DIGESTS
        matches = token_matches(token_of(head.authorization), digests)
        return Judged(state, source) if state is not None and source is not None and matches else None

    def backlogged(self, state: SourceState) -> bool:
        """The source has as many pending events as it may have."""
        return 0 < self._backlog_events_max <= state.pending

    def backlog_refusal(self) -> Refusal:
        return refuse("overloaded", f"{self._backlog_events_max} events of this source are pending already")


@dataclass(slots=True, eq=False)
class Judged:
    """A source whose sender had a right token."""

    state: SourceState
    source: Source


class Entry:
    """One request that is let in: its body as it grows, then the decision. Also what the acknowledger calls back."""

    __slots__ = ("_admission", "_answer", "_gate", "_head", "_held", "_received", "_source", "_state", "_submitted")

    def __init__(self, gate: Gate, judged: Judged, head: Head) -> None:
        self._gate = gate
        self._state = judged.state
        self._source = judged.source
        self._head = head
        self._held = 0
        self._received = 0
        self._submitted = False
        self._admission: Admission
        self._answer: OnAnswer

    def grow(self, count: int) -> Refusal | None:
        """`count` more bytes of the body have come."""
        self._received += count
        missing = self._received - self._held
        return self.reserve(missing) if missing > 0 else None

    def reserve(self, count: int) -> Refusal | None:
        """Take room for `count` more bytes, or refuse them."""
        if self._held + count > self._gate.body_bytes_max:
            return refuse("too_large", f"the body is over {self._gate.body_bytes_max} bytes")
        return self._take(count)

    def submit(self, body: bytes, answer: OnAnswer) -> None:
        """The whole body. `answer` is called exactly once, perhaps before this returns."""
        gate, state, source = self._gate, self._state, self._source
        reading = intake.read(source, self._head, body, gate.clock.now_ms(), gate.intake_limits)
        refusal = reading if isinstance(reading, Refusal) else self._has_room_for(reading)
        if isinstance(reading, Refusal) or refusal is not None:
            assert refusal is not None
            answer(refusal_answer(refusal, close=refusal is UNAUTHORIZED))  # as for a wrong token, to the byte
            return
        self._admission = intake.admit(reading, source, state.limiter, state.deferring, gate.clock.monotonic_ns())
        self._answer = answer
        self._submitted = True
        gate.acknowledger.append(state, self._admission, self._committed)

    def close(self) -> None:
        """The request is over, or its client has gone. What was submitted goes on, its room taken until its commit."""
        if not self._submitted:
            self._give_back()

    def _has_room_for(self, reading: Deliveries) -> Refusal | None:
        """The backlog may have filled meanwhile, and what was unpacked takes memory until its commit."""
        if self._gate.backlogged(self._state):
            return self._gate.backlog_refusal()
        unpacked = reading.size - self._held
        return self._take(unpacked) if unpacked > 0 else None

    def _committed(self, result: NumberedDeliveries | StoreError) -> None:
        self._give_back()
        if isinstance(result, NumberedDeliveries):
            [delivery_id] = result.delivery_ids()
            self._answer(Answer(200, intake.answer(self._source, self._admission, delivery_id)))
        else:
            self._answer(refusal_answer(storage_refusal(result), close=False))

    def _take(self, count: int) -> Refusal | None:
        if not self._gate.in_flight.reserve(self._state.id, count):
            return refuse("overloaded", "too many bytes are in flight")
        self._held += count
        return None

    def _give_back(self) -> None:
        if self._held:
            self._gate.in_flight.release(self._state.id, self._held)
            self._held = 0
