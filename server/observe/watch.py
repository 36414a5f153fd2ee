"""Whether sources are heard from: when something of each was last accepted, and what its silence or refusals suggest.

An accepted request is seen by its events, which the store counts: nothing is added to what a request costs. All spans
of time go by the monotonic clock, and begin anew with the process.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from server.base.clock import Clock
from server.base.source import Source
from server.flow.engine import Engine
from server.flow.source_state import SourceState

BURST_REFUSALS = 10
"""Refused as unauthorized, within BURST_NS: more than a curious stranger sends, fewer than one sender's retries."""
BURST_NS = 300 * 10**9
GOOD_NS = 3600 * 10**9
"""A burst means something where a request was accepted so long before it at most."""

Credentials = tuple[tuple[bytes, ...], tuple[bytes, ...]]


@dataclass(slots=True)
class _Heard:
    """What is known of one source."""

    received: int
    since_ns: int
    """Since when it is expected to send: the start, or a reload that changed how often."""
    credentials: Credentials = ((), ())
    expect_every_seconds: float = 0
    accepted_ns: int | None = None
    accepted_ms: int | None = None
    refused_ns: deque[int] = field(default_factory=lambda: deque(maxlen=BURST_REFUSALS))
    """Refusals for want of authentication since the last accepted request, the newest."""
    is_suspect: bool = False

    def configure(self, source: Source, now_ns: int) -> None:
        """Note what is configured now; what was found out under other credentials does not count."""
        credentials = source.token_digests, source.signing_keys
        if credentials != self.credentials:
            self.credentials = credentials
            self._start_anew()
        if source.expect_every_seconds != self.expect_every_seconds:
            self.expect_every_seconds, self.since_ns = source.expect_every_seconds, now_ns

    def accepted(self, received: int, now_ns: int, now_ms: int) -> None:
        self.received, self.accepted_ns, self.accepted_ms = received, now_ns, now_ms
        self._start_anew()

    def refused(self, now_ns: int) -> None:
        self.refused_ns.append(now_ns)
        first, accepted = self.refused_ns[0], self.accepted_ns
        is_burst = len(self.refused_ns) == BURST_REFUSALS and now_ns - first <= BURST_NS
        self.is_suspect |= is_burst and accepted is not None and first - accepted <= GOOD_NS

    def silent_ns(self, now_ns: int) -> int:
        """Return for how long nothing was accepted."""
        return now_ns - (self.since_ns if self.accepted_ns is None else max(self.accepted_ns, self.since_ns))

    def _start_anew(self) -> None:
        self.refused_ns.clear()
        self.is_suspect = False


class Watch:
    """Looks at every source when it is told to, which should be each second; for the trio thread."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self.look()

    def look(self) -> None:
        """Find out which sources had a request accepted since the last look."""
        for state in self._engine.states:
            self._look_at(state)

    def unauthorized(self, source_id: str) -> None:
        """Note that a request to this source was refused since its sender was not authenticated."""
        state = self._engine.state(source_id)
        if state is not None:
            self._look_at(state).refused(self._clock.monotonic_ns())

    def accepted_ms(self, source_id: str) -> int | None:
        """Return when a request of this source was last accepted, by the wall clock; None if not since the start."""
        heard = self._heard.get(source_id)
        return None if heard is None else heard.accepted_ms

    def is_silent(self, state: SourceState) -> bool | None:
        """Return whether nothing was accepted for as long as is expected; None if nothing is expected of it."""
        if state.source is None or not state.source.expect_every_seconds:
            return None
        return self._look_at(state).silent_ns(self._clock.monotonic_ns()) > state.source.expect_every_seconds * 1e9

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Yield a readiness warning, its name and its words, for each source that may be in trouble."""
        for state in self._engine.states:
            if state.source is None:
                continue
            if self._look_at(state).is_suspect:
                yield (
                    "secret_changed",
                    f"source {state.id}: requests are refused as unauthorized, and none is accepted any more: "
                    f"was its secret changed? tidegate why {state.id}",
                )
            if self.is_silent(state):
                seconds = self._heard[state.id].silent_ns(self._clock.monotonic_ns()) // 10**9
                expected = state.source.expect_every_seconds
                yield (
                    "silent",
                    f"source {state.id}: nothing was accepted for {seconds} s; expect_every_seconds is {expected:g}",
                )

    def _look_at(self, state: SourceState) -> _Heard:
        now_ns, received = self._clock.monotonic_ns(), state.totals.received
        heard = self._heard.get(state.id)
        if heard is None:
            heard = self._heard[state.id] = _Heard(received, now_ns)
        if state.source is not None:
            heard.configure(state.source, now_ns)
        if received != heard.received:
            heard.accepted(received, now_ns, self._clock.now_ms())
        return heard
