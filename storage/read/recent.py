"""What came into the store last, in memory, for those who follow: who keeps up reads none of its records there.

Kept only while somebody follows.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

from storage.deliveries import NumberedDeliveries
from storage.model import Group

RECENT_EVENTS_MAX = 500
"""About as many as a follower looks at in one step. When more come together, they are few records, which are soon
read."""
RECENT_BODY_BYTES_MAX = 4 * 2**20


class Recent:
    """The last deliveries of the store, as they were received; each follows the one before."""

    def __init__(self) -> None:
        self.followers = 0
        self.forgettings = 0
        """How often something has left the store, or was forgotten."""
        self._kept: deque[NumberedDeliveries] = deque()
        self._events = self._body_bytes = 0

    @contextmanager
    def following(self) -> Iterator[None]:
        """Count one more who follows, meanwhile."""
        self.followers += 1
        try:
            yield
        finally:
            self.followers -= 1
            if not self.followers:
                self._forget()

    def take_over(self, group: Group) -> None:
        """Keep what came into the store with this group. Where something left it, keep nothing that came before."""
        if group.removal is not None or group.erasure is not None:
            self.forgettings += 1
            self._forget()
        if not self.followers:
            return
        for append in group.appends:
            self._kept.append(append.numbered)
            self._events += append.numbered.count
            self._body_bytes += append.numbered.deliveries.size
        while self._events > RECENT_EVENTS_MAX or self._body_bytes > RECENT_BODY_BYTES_MAX:
            oldest = self._kept.popleft()
            self._events -= oldest.count
            self._body_bytes -= oldest.deliveries.size

    def since(self, number: int) -> Sequence[NumberedDeliveries]:
        """Return the deliveries that have events from this number on; nothing if one of them is not kept. May be called
        in any thread."""
        kept = list(self._kept)  # in one step of the interpreter
        if not kept or kept[0].first > number:
            return ()
        return [*takewhile(lambda each: each.end > number, reversed(kept))][::-1]

    def _forget(self) -> None:
        self._kept.clear()
        self._events = self._body_bytes = 0
