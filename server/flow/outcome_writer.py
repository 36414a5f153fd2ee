"""From a verdict to an outcome on disk, and what waits for that: ids, twins, retries, the dedup index.

Guarantees: an id that is held is let go only when its outcome is on disk; only then is it known to the index; a twin
gets its own outcome, or its turn, only then; an event that failed is tried again only when its attempt is on disk.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import trio

from server.base.clock import Clock
from server.flow.committer import Committer
from server.flow.parked import Aside, AsideEvents
from server.flow.source_state import SourceState
from storage.dedup.index import DedupIndex
from storage.model import StatusChange
from storage.statuses import EventStatus

HURRY_BYTES = 2**20
"""Of results that wait: a transaction of so many gains nothing from more, and would need memory for all of them."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An event whose id was processed before, as the event `original`."""

    number: int
    digest: bytes
    attempts: int
    original: int


class Closing:
    """The outcomes of one source on their way. `changed` is called whenever some have arrived."""

    def __init__(
        self,
        state: SourceState,
        aside: AsideEvents,
        *,
        committer: Committer,
        index: DedupIndex,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._state = state
        self._aside = aside
        self._committer = committer
        self._index = index
        self._clock = clock
        self._changed = changed
        self._waiting: dict[int, tuple[int, int]] = {}
        self._arrived = trio.Event()
        self.waiting_events = 0
        """Outcomes that are not on disk yet."""
        self.waiting_bytes = 0
        """Their results and errors."""

    def oldest(self) -> tuple[int, int] | None:
        """(number, received_at_ms) of the oldest event whose outcome is on its way."""
        return min(self._waiting.values(), default=None)

    def hurry(self) -> None:
        """Somebody waits for these outcomes."""
        self._committer.hurry()

    async def done(self) -> None:
        """Return when every outcome is on disk, or when nothing will be written any more."""
        self.hurry()
        while self._waiting and not self._committer.lost:
            self._arrived = trio.Event()
            await self._arrived.wait()

    def processed(
        self,
        numbers: Sequence[int],
        digests: Sequence[bytes],
        attempts: Sequence[int],
        received_at_ms: int,
        details: Mapping[int, bytes],
        *,
        held: bool = True,
    ) -> None:
        """These events are through. `numbers` ascend.

        Where their ids are not held, nothing but a restart keeps the outcomes from the disk, and what is found a
        duplicate of them is written after them: the index may know them at once.
        """
        outcomes = self._outcomes(EventStatus.PROCESSED, numbers, attempts, details=details)
        if not held:
            self._index.add(digests, numbers, outcomes.at_ms)

        def on_disk() -> None:
            self._index.add(digests, numbers, outcomes.at_ms)
            self._let_go(digests, dict(zip(digests, numbers, strict=True)) if self._aside else {})

        self._hand_over(outcomes, received_at_ms, on_disk if held else _nothing)

    def dead(self, number: int, digest: bytes, attempts: int, received_at_ms: int, detail: bytes) -> None:
        """The event, whose id is held, has failed too often."""
        outcomes = self._outcomes(EventStatus.DEAD, [number], [attempts], details={number: detail})
        self._hand_over(outcomes, received_at_ms, lambda: self._let_go([digest], {}))

    def duplicates(self, found: Sequence[Duplicate], received_at_ms: int, *, held: bool) -> None:
        """These events are duplicates. Their numbers ascend."""
        digests = [each.digest for each in found]
        originals = {each.digest: each.original for each in found}
        let_go = (lambda: self._let_go(digests, originals)) if held else _nothing
        self._hand_over(self._duplicates(found), received_at_ms, let_go)

    def attempted(self, event: Aside, seconds: float) -> None:
        """The event, which holds its id, failed alone; it is to be tried again after `seconds`."""
        due = trio.current_time() + seconds

        def on_disk() -> None:
            self._aside.retry_at(due, event)

        outcomes = self._outcomes(EventStatus.PENDING, [event.number], [event.attempts])
        self._hand_over(outcomes, event.received_at_ms, on_disk)

    def _let_go(self, digests: Sequence[bytes], originals: Mapping[bytes, int]) -> None:
        """Let go of the ids; twins are duplicates of the processed event, or take the place of the dead one."""
        for digest, twins in self._aside.release(digests):
            original = originals.get(digest)
            if original is None:
                self._aside.succeed(twins)
                continue
            found = [Duplicate(twin.number, digest, twin.attempts, original) for twin in twins]
            self._hand_over(self._duplicates(found), twins[0].received_at_ms, _nothing)

    def _duplicates(self, found: Sequence[Duplicate]) -> StatusChange:
        ordered = sorted(found, key=lambda each: each.number)
        numbers = [each.number for each in ordered]
        originals = [each.original for each in ordered]
        return self._outcomes(EventStatus.DUPLICATE, numbers, [each.attempts for each in ordered], originals)

    def _outcomes(
        self,
        status: EventStatus,
        numbers: Sequence[int],
        attempts: Sequence[int],
        originals: Sequence[int] = (),
        details: Mapping[int, bytes] | None = None,
    ) -> StatusChange:
        return StatusChange(self._state.id, status, numbers, attempts, self._clock.now_ms(), originals, details or {})

    def _hand_over(self, outcomes: StatusChange, received_at_ms: int, then: Callable[[], None]) -> None:
        count = len(outcomes.numbers)
        size = sum(map(len, outcomes.details.values()))
        key = id(outcomes)
        self._waiting[key] = (outcomes.numbers[0], received_at_ms)
        self.waiting_events += count
        self.waiting_bytes += size

        def on_disk() -> None:
            del self._waiting[key]
            self.waiting_events -= count
            self.waiting_bytes -= size
            then()
            self._arrived.set()
            self._changed()

        self._committer.finish(self._state, outcomes, on_disk)
        if self.waiting_bytes >= HURRY_BYTES:
            self._committer.hurry()


def _nothing() -> None:
    pass
