"""Whether sources get on: which had to be refused for want of room, and which are stuck.

What is known in memory is judged when somebody asks; the age of an oldest event that waits on disk only, and how long a
processor has failed, are as of the last look. Spans go by the monotonic clock, ages by the wall clock, as the metrics'.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from server.base.clock import Clock
from server.base.worker import Worker
from server.flow.engine import Engine
from server.flow.source_state import SourceState
from storage.errors import StoreError
from storage.read.reader import Reader

OVERLOADED_NS = 60 * 10**9
"""A source is overloaded for so long after its last refusal: longer than the time between two scrapes."""


@dataclass(slots=True)
class _Course:
    """What was seen of one source."""

    processor: str
    processed: int
    failures: int = 0
    failed_first_ns: int | None = None
    """When a failure was first seen since the last success."""
    failed_last_ns: int = 0
    refused_ns: int | None = None
    oldest_ms: int | None = None
    """When its oldest pending event was received, if that waits on disk only."""

    def look(self, state: SourceState, now_ns: int) -> None:
        """Note what its processor has done since the last look; a success in it counts more than a failure."""
        processor = "" if state.source is None else state.source.processor
        failures, processed = state.counts.processor_failures, state.totals.processed
        if processed != self.processed or processor != self.processor:
            self.failed_first_ns = None
        elif failures != self.failures:
            self.failed_first_ns = now_ns if self.failed_first_ns is None else self.failed_first_ns
            self.failed_last_ns = now_ns
        self.processor, self.processed, self.failures = processor, processed, failures

    @property
    def failing_seconds(self) -> float:
        """From the first failure since the last success to the last one."""
        return 0 if self.failed_first_ns is None else (self.failed_last_ns - self.failed_first_ns) / 1e9


class SourceProgress:
    """Looks at every source when it is told to, which should be every few seconds; for the trio thread."""

    def __init__(
        self, engine: Engine, reader: Reader, worker: Worker, clock: Clock, *, backlog_events_max: int
    ) -> None:
        """`reader` is used in `worker` only."""
        self._engine = engine
        self._reader = reader
        self._worker = worker
        self._clock = clock
        self._backlog_events_max = backlog_events_max
        self._courses: dict[str, _Course] = {}

    async def look(self) -> None:
        """Find out what is not known in memory."""
        now_ns = self._clock.monotonic_ns()
        for state in self._engine.states:
            self._course(state).look(state, now_ns)
        unread = [
            (state, state.oldest_pending() or (state.totals.oldest, 0))
            for state in self._engine.states
            if _may_be_stuck(state) and state.totals.pending
        ]
        wanted = [(state.id, number) for state, (number, at_ms) in unread if not at_ms]
        try:
            found = await self._worker.run(lambda: [self._reader.received_at(*each) for each in wanted])
        except StoreError:
            return  # readiness names that by itself; what was known stays
        for (source_id, _), at_ms in zip(wanted, found, strict=True):
            self._courses[source_id].oldest_ms = at_ms

    def refused(self, source_id: str) -> None:
        """Note that a request of a known sender of this source was refused for want of room."""
        state = self._engine.state(source_id)
        if state is not None:
            self._course(state).refused_ns = self._clock.monotonic_ns()

    def is_overloaded(self, state: SourceState) -> bool | None:
        """Return whether the source is at the limit of its backlog, or was refused a moment ago; None if it is not
        configured."""
        return None if state.source is None else bool(self._why_overloaded(state))

    def is_stuck(self, state: SourceState) -> bool | None:
        """Return whether nothing has come of its oldest event, or of any call, for too long; None if nobody asks."""
        if state.source is None or not state.source.stuck_after_seconds:
            return None
        return bool(self._why_stuck(state))

    def warnings(self) -> Iterator[tuple[str, str]]:
        """Yield a readiness warning, its name and its words, for each source that is in trouble."""
        for state in self._engine.states:
            if state.source is None:
                continue
            for name, why in (("overloaded", self._why_overloaded(state)), ("stuck", self._why_stuck(state))):
                if why:
                    yield name, f"source {state.id}: {why}"

    def _why_overloaded(self, state: SourceState) -> str:
        if 0 < self._backlog_events_max <= state.pending:
            limit = f"queue.backlog_events_max is {self._backlog_events_max}"
            return f"{state.pending} events are pending, so its deliveries are refused; {limit}"
        refused_ns = self._course(state).refused_ns
        since_ns = OVERLOADED_NS if refused_ns is None else self._clock.monotonic_ns() - refused_ns
        return "" if since_ns >= OVERLOADED_NS else f"a request was refused as overloaded {since_ns // 10**9} s ago"

    def _why_stuck(self, state: SourceState) -> str:
        if not _may_be_stuck(state):
            return ""
        assert state.source is not None
        limit = state.source.stuck_after_seconds
        age = self._oldest_seconds(state)
        if age is not None and age > limit:
            held = f", and its rate limit holds {state.unreleased}" if state.unreleased else ""
            return f"its oldest pending event is {age:.0f} s old{held}; stuck_after_seconds is {limit:g}"
        failing = self._course(state).failing_seconds
        if failing <= limit:
            return ""
        return f"its processor has failed for {failing:.0f} s without a success; stuck_after_seconds is {limit:g}"

    def _oldest_seconds(self, state: SourceState) -> float | None:
        """Return the age of its oldest pending event; None if there is none, or none whose time is known."""
        if not state.totals.pending:
            return None
        _, known_ms = state.oldest_pending() or (0, 0)
        at_ms = known_ms or self._course(state).oldest_ms
        return None if at_ms is None else max(0, self._clock.now_ms() - at_ms) / 1000

    def _course(self, state: SourceState) -> _Course:
        course = self._courses.get(state.id)
        if course is None:
            processor = "" if state.source is None else state.source.processor
            course = self._courses[state.id] = _Course(processor, state.totals.processed)
        return course


def _may_be_stuck(state: SourceState) -> bool:
    return state.source is not None and state.source.stuck_after_seconds > 0 and not state.source.paused
