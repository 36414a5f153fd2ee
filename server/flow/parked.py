"""What a consumer holds beside its channel: the ids in hand, and the events that are parked.

An id is held from the moment an event of it is taken until that event's outcome is on disk; so at most one event per
(source, id) is with a processor or in retry. (Without a processor there is nothing to hold it for, but for events that
are parked.) So is the digest of its body, where equal bodies are duplicates: after the id, so whoever holds that of a
body waits for nobody, and no two events wait for one another. A parked event is in one of four states:
- *in-flight duplicate*: another event holds its id or its body's digest; it waits for what becomes of that one;
- *to be retried*: it failed alone and waits for its time;
- *set aside*: it met an outage alone, and waits until another event of its source has been tried;
- *ready*: its turn has come (a retry that is due, the next in line after a dead event).
Only the number and a few facts are kept; the event is read again from disk when its turn comes.

What has failed goes alone from then on. What has not, a requeued event or the next in line, goes in batches by its
number, which is all that is kept of it.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from server.flow.digests import both

SET_ASIDE_MAX = 10_000
"""Events beyond `queue.events_max` that may be parked in an outage, so that the search for one that succeeds ends
neither at a full parking place nor before a month, at one try in 300 s; 3 MB."""

NUMBERS_SPARE = 64
"""Numbers of events that were taken out may stay in the heap of the oldest: as many as are parked, and these."""


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that is parked."""

    number: int
    digest: bytes
    received_at_ms: int
    attempts: int
    store_ms: int = 0
    """When it was received, by the store's time, to the minute; 0 if it is requeued."""
    body_digest: bytes = b""
    """Of its body, if events with an equal one are duplicates."""

    @property
    def digests(self) -> tuple[bytes, ...]:
        """What it holds while it is worked on, in the order in which it gets them."""
        return both(self.digest, self.body_digest)


class ParkedEvents:
    """The parked events of one source, and the ids in hand."""

    def __init__(self) -> None:
        self._held: dict[bytes, int] = {}
        """Each digest with the number of the event that holds it."""
        self._duplicates: dict[bytes, list[ParkedEvent]] = {}
        """The in-flight duplicates that wait for each."""
        self._events: dict[int, ParkedEvent] = {}
        self._numbers: list[int] = []
        self._ready: deque[ParkedEvent] = deque()
        self._together: list[int] = []
        """A heap of the numbers that may go in a batch."""
        self._retries: list[tuple[float, int, ParkedEvent]] = []
        self.due: dict[int, float] = {}
        """When the retries of events that are read anew are due, by number."""
        self._aside: deque[ParkedEvent] = deque()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def holds_any(self) -> bool:
        """An id is in hand."""
        return bool(self._held)

    def held_digests(self) -> set[bytes]:
        """Return every digest in hand."""
        return set(self._held)

    def hold(self, event: ParkedEvent) -> bool:
        """Hold what this event does not hold yet; if another has that, park the event as an in-flight duplicate and
        return False."""
        for digest in event.digests:
            if self._held.setdefault(digest, event.number) != event.number:
                self._add(event)
                self._duplicates.setdefault(digest, []).append(event)
                return False
        return True

    def release(self, digests: Iterable[bytes]) -> list[tuple[bytes, list[ParkedEvent]]]:
        """Let go of these digests, and return each that was waited for with its in-flight duplicates, which are taken
        out; call when the events that hold them have an outcome on disk."""
        waited = []
        for digest in digests:
            del self._held[digest]
            if digest in self._duplicates:
                duplicates = self._duplicates.pop(digest)
                waited.append((digest, duplicates))
                for event in duplicates:
                    del self._events[event.number]
        return waited

    def retry_at(self, time: float, event: ParkedEvent) -> None:
        """Park the event, which holds its digests, until `time`."""
        self._add(event)
        heapq.heappush(self._retries, (time, event.number, event))

    def retry_anew(self, event: ParkedEvent) -> None:
        """Park the event, which holds its digests, until its interrupted retry is due: at once if that is forgotten."""
        self.retry_at(self.due.pop(event.number, -math.inf), event)

    def make_ready(self, event: ParkedEvent) -> None:
        """Park the event until the consumer has time for it."""
        self._add(event)
        self._ready.append(event)

    def promote(self, digest: bytes, duplicates: Sequence[ParkedEvent]) -> None:
        """Let the first, the next in line, hold what these waited for; call when the event that held it is dead.

        The others wait for the first, which may have to wait for one of its own body yet.
        """
        next_in_line, *others = duplicates
        self._held[digest] = next_in_line.number
        if others:
            self._duplicates[digest] = others
        for event in others:
            self._add(event)
        if next_in_line.attempts:
            self.make_ready(next_in_line)
        else:
            self.add_together([next_in_line.number])

    def add_together(self, numbers: Iterable[int]) -> None:
        """Keep these events, which have not failed, until the consumer has time for a batch of them."""
        for number in numbers:
            heapq.heappush(self._together, number)

    def next_together(self, count: int) -> list[int]:
        """Take out the first numbers of those that may go in a batch, at most so many."""
        return [heapq.heappop(self._together) for _ in range(min(count, len(self._together)))]

    def together_numbers(self) -> list[int]:
        """Return the numbers of all that may go in a batch, in no order."""
        return self._together.copy()

    @property
    def together(self) -> int:
        """How many wait for a batch; `len` does not count them."""
        return len(self._together)

    def set_aside(self, event: ParkedEvent) -> None:
        """Park the event, which holds its digests, until another one has been tried."""
        self._add(event)
        self._aside.append(event)

    @property
    def spare(self) -> int:
        """How many events more than ever may be parked."""
        return SET_ASIDE_MAX if self._aside else 0

    @property
    def in_outage(self) -> bool:
        """An event is set aside: nothing has succeeded since it met an outage."""
        return bool(self._aside)

    def next_aside(self) -> ParkedEvent | None:
        """Take out the event that was set aside first; call when there is no other to be tried."""
        return self._taken_out(self._aside.popleft()) if self._aside else None

    def outage_over(self) -> ParkedEvent | None:
        """Take out the event that was set aside last, if any, and make the others ready; call when one succeeded."""
        if not self._aside:
            return None
        last = self._aside.pop()
        self._ready.extend(self._aside)
        self._aside.clear()
        return self._taken_out(last)

    def next_due(self, now: float) -> ParkedEvent | None:
        """Take out the next event whose turn it is; None if there is none."""
        while self._retries and self._retries[0][0] <= now:
            self._ready.append(heapq.heappop(self._retries)[2])
        if not self._ready:
            return None
        return self._taken_out(self._ready.popleft())

    def next_time(self) -> float | None:
        """Return when the next retry is due; None if there is none. Call when no event is ready."""
        return self._retries[0][0] if self._retries else None

    def retry_now(self) -> int:
        """Make ready what waits for a retry, read anew or not yet; return how many events that are, with those that
        are set aside, which are tried as soon as no other is."""
        count = len(self.due.keys() | {event.number for _, _, event in self._retries}) + len(self._aside)
        self._ready.extend(event for _, _, event in sorted(self._retries, key=itemgetter(0, 1)))
        self._retries.clear()
        self.due.clear()
        return count

    def aside_numbers(self) -> frozenset[int]:
        """Return the numbers of the events that are set aside."""
        return frozenset(event.number for event in self._aside)

    def waits(self, now: float) -> dict[int, float]:
        """Return the seconds until its retry for each event that waits for one, read anew or not yet, by number."""
        times = self.due | {event.number: time for time, _, event in self._retries}
        return {number: max(0, time - now) for number, time in times.items()}

    def oldest(self) -> tuple[int, int] | None:
        """Return (number, received_at_ms) of the oldest parked event; the time is 0 if only its number is kept."""
        together = (self._together[0], 0) if self._together else None
        return min((found for found in (self._oldest_event(), together) if found is not None), default=None)

    def _oldest_event(self) -> tuple[int, int] | None:
        while self._numbers and self._numbers[0] not in self._events:
            heapq.heappop(self._numbers)
        if not self._numbers:
            return None
        return self._numbers[0], self._events[self._numbers[0]].received_at_ms

    def _add(self, event: ParkedEvent) -> None:
        self._events[event.number] = event
        heapq.heappush(self._numbers, event.number)
        if len(self._numbers) > 2 * len(self._events) + NUMBERS_SPARE:
            self._numbers = sorted(self._events)

    def _taken_out(self, event: ParkedEvent) -> ParkedEvent:
        del self._events[event.number]
        return event
