"""What a consumer holds beside its channel: the ids in hand, and the events that stepped aside.

An id is held from the moment an event of it is taken until that event's outcome is on disk; so at most one event per
(source, id) is with a processor or in retry. (Without a processor there is nothing to hold it for, but for events that
stepped aside.) An event steps aside in one of three states:
- *twin*: another event holds its id; it waits for what becomes of that one;
- *later*: it failed alone and waits for its time;
- *ready*: its turn has come (a retry that is due, a twin whose elder died, a requeued event).
Only the number and a few facts are kept; the event is read again from disk when its turn comes.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Aside:
    """An event that stepped aside. `holds`: it is the one that holds its id."""

    number: int
    digest: bytes
    received_at_ms: int
    attempts: int
    holds: bool = False


class AsideEvents:
    """The events of one source that stepped aside, and the ids in hand."""

    def __init__(self) -> None:
        self._held: dict[bytes, list[Aside] | None] = {}
        self._events: dict[int, Aside] = {}
        self._numbers: list[int] = []
        self._ready: deque[Aside] = deque()
        self._later: list[tuple[float, int, Aside]] = []

    def __len__(self) -> int:
        return len(self._events)

    @property
    def holds_any(self) -> bool:
        """An id is in hand."""
        return bool(self._held)

    def hold(self, event: Aside) -> bool:
        """Hold the id for this event; where another has it, the event waits as its twin and the answer is False."""
        if event.digest not in self._held:
            self._held[event.digest] = None
            return True
        self._add(event)
        twins = self._held[event.digest]
        if twins is None:
            self._held[event.digest] = [event]
        else:
            twins.append(event)
        return False

    def release(self, digests: Iterable[bytes]) -> list[tuple[bytes, list[Aside]]]:
        """Their events have an outcome on disk: let go of the ids; what waited for them is returned and taken out."""
        waited = []
        for digest in digests:
            twins = self._held.pop(digest)
            if twins is not None:
                waited.append((digest, twins))
                for twin in twins:
                    del self._events[twin.number]
        return waited

    def retry_at(self, time: float, event: Aside) -> None:
        """The event, which holds its id, is to be tried again at `time`."""
        self._add(event)
        heapq.heappush(self._later, (time, event.number, event))

    def turn(self, event: Aside) -> None:
        """It is this event's turn as soon as the consumer has time."""
        self._add(event)
        self._ready.append(event)

    def succeed(self, twins: Sequence[Aside]) -> None:
        """The event that these waited for is dead: the first takes its place, the others wait for that one."""
        heir, *others = twins
        self._held[heir.digest] = others or None
        for twin in others:
            self._add(twin)
        self.turn(replace(heir, holds=True))

    def next_due(self, now: float) -> Aside | None:
        """Take out the next event whose turn it is."""
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        if not self._ready:
            return None
        event = self._ready.popleft()
        del self._events[event.number]
        return event

    def next_time(self) -> float | None:
        """When the next retry is due, where none is now."""
        return self._later[0][0] if self._later else None

    def oldest(self) -> tuple[int, int] | None:
        """(number, received_at_ms) of the oldest event aside."""
        while self._numbers and self._numbers[0] not in self._events:
            heapq.heappop(self._numbers)
        if not self._numbers:
            return None
        return self._numbers[0], self._events[self._numbers[0]].received_at_ms

    def _add(self, event: Aside) -> None:
        self._events[event.number] = event
        heapq.heappush(self._numbers, event.number)
