"""What is held, and who waits for it, against the rules: of ids and bodies in any mixture, outcomes and writes in any
order, each event comes to an end."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.flow.digests import Digests, both
from server.flow.outcome_writer import Duplicate, OutcomeWriter
from server.flow.parked import ParkedEvent, ParkedEvents
from server.flow.source_state import SourceState
from storage.model import StatusChange
from storage.statuses import EventStatus, Totals

events = st.builds(
    lambda event_id, body, attempts: ParkedEvent(0, event_id, 0, attempts, body_digest=body),
    st.sampled_from([b"a", b"b", b"c"]),
    st.sampled_from([b"", b"x", b"y"]),
    st.integers(0, 1),
)


class World:
    """A consumer without its loop: the committer, the clock and the index of an OutcomeWriter, and a processor."""

    def __init__(self, fresh: Sequence[ParkedEvent], random: Random) -> None:
        self.events = {event.number: event for event in fresh}
        self.parked = ParkedEvents()
        self.writer = OutcomeWriter(
            SourceState("demo", Totals()),
            self.parked,
            committer=self,  # type: ignore[arg-type]
            index=self,  # type: ignore[arg-type]
            clock=self,  # type: ignore[arg-type]
            on_written=lambda: None,
            on_outcome=lambda _: None,
            on_processed=lambda *_: None,
        )
        self.store_clock = self
        self.known: dict[bytes, int] = {}
        self.hand: dict[int, ParkedEvent] = {}
        self.on_their_way: list[tuple[StatusChange, Callable[[], None]]] = []
        self.outcomes: dict[int, tuple[EventStatus, int]] = {}
        self._fresh = list(fresh)
        self._random = random

    def now_ms(self) -> int:
        return 1

    def flush(self) -> None:
        pass

    def change_status(self, _state: object, change: StatusChange, on_disk: Callable[[], None]) -> None:
        self.on_their_way.append((change, on_disk))

    def add(self, digests: Sequence[bytes], numbers: Sequence[int], _at_ms: int) -> None:
        self.known |= dict(zip(digests, numbers, strict=True))

    def steps(self) -> list[Callable[[], None]]:
        """What may be next."""
        found: list[Callable[[], None]] = []
        if self._fresh or self.parked.together or self.parked.next_time() is not None or self.parked._ready:
            found.append(self.take)
        return found + [self.end] * bool(self.hand) + [self.write] * bool(self.on_their_way)

    def take(self) -> None:
        """Take an event from where one is, as a consumer does."""
        due = self.parked.next_due(0)
        if due is not None:
            event = due
        elif self.parked.together:
            event = self.events[self.parked.next_together(1)[0]]
        else:
            event = self._fresh.pop(0)
        if not self.parked.hold(event):
            return
        if due is None and event.attempts:
            self.parked.retry_anew(event)
            return
        known_by = next((digest for digest in event.digests if digest in self.known), None)
        if known_by is not None:
            found = Duplicate(event.number, event.digests, 0, self.known[known_by], known_by, 0)
            self.writer.duplicates([found], 0, held=True)
            return
        for other in self.undecided():
            assert not set(other.digests) & set(event.digests), "two of an id or a body are in hand"
        self.hand[event.number] = event

    def undecided(self) -> Iterator[ParkedEvent]:
        """Those with the processor, or with an outcome that is not on disk, but for duplicates."""
        yield from self.hand.values()
        for change, _ in self.on_their_way:
            if change.status is not EventStatus.DUPLICATE:
                yield from (self.events[number] for number in change.numbers)

    def end(self) -> None:
        """One with the processor is processed, or dead."""
        event = self.hand.pop(self._random.choice(sorted(self.hand)))
        if self._random.random() < 0.5:
            self.writer.dead(event, 1, b"{}")
        else:
            digests = Digests([event.digest], {0: event.body_digest} if event.body_digest else {})
            self.writer.processed([event.number], digests, [0], 0, {})

    def write(self) -> None:
        """The first change is on disk."""
        change, on_disk = self.on_their_way.pop(0)
        for number, original in zip(change.numbers, change.originals or change.numbers, strict=True):
            assert number not in self.outcomes
            self.outcomes[number] = (change.status, original)
        on_disk()


@given(st.lists(events, max_size=14), st.randoms(use_true_random=False))
def test_who_waits_comes_to_an_end(drawn: list[ParkedEvent], random: Random) -> None:
    """No two of an id or a body are in hand at once or processed, a duplicate has what its original has, and nobody
    waits for ever."""
    fresh: list[Any] = [
        ParkedEvent(number, each.digest, 0, each.attempts, body_digest=each.body_digest)
        for number, each in enumerate(drawn, 1)
    ]
    world = World(fresh, random)
    while steps := world.steps():
        random.choice(steps)()
    assert sorted(world.outcomes) == [event.number for event in fresh]
    assert (len(world.parked), world.parked.holds_any) == (0, False)
    processed = [number for number, (status, _) in world.outcomes.items() if status is EventStatus.PROCESSED]
    digests = [digest for number in processed for digest in world.events[number].digests]
    assert len(set(digests)) == len(digests)
    for number, (status, original) in world.outcomes.items():
        if status is EventStatus.DUPLICATE:
            assert original in processed
            event, twin = world.events[number], world.events[original]
            assert set(event.digests) & set(both(twin.digest, twin.body_digest))
