"""Which connections of a listener are open, which of them wait for a request, and which one goes when it is full."""

from collections.abc import Iterable, Iterator
from typing import Protocol


class Evictable(Protocol):
    """A connection, as the register sees it. Hashed by identity."""

    is_known: bool
    """Whether a sender on it has passed the gate."""

    def stop_waiting(self) -> None:
        """Close now; called while it has no request in hand."""


class Connections:
    """At most `connections_max` open ones. Each step costs the same however many there are."""

    def __init__(self, connections_max: int) -> None:
        self._connections_max = connections_max
        self._open: set[Evictable] = set()
        self._idle_strangers: dict[Evictable, None] = {}  # both in the order in which they fell idle
        self._idle_known: dict[Evictable, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """Whether the next one takes another's place, or none."""
        return len(self._open) >= self._connections_max

    def add(self, connection: Evictable) -> bool:
        """Take it in, idle; if all places are taken an idle one leaves for it. False: there is no room."""
        if self.is_full and not self.evict():
            return False
        self._open.add(connection)
        self.fell_idle(connection)
        return True

    def evict(self) -> bool:
        """Send away one idle connection: strangers first, then the longest idle. False: all have work in hand."""
        for victim in self._idle():
            self.remove(victim)
            victim.stop_waiting()
            return True
        return False

    def fell_idle(self, connection: Evictable) -> None:
        """Note that it has no request in hand from now on. Without effect once it was sent away."""
        if connection in self._open:
            (self._idle_known if connection.is_known else self._idle_strangers)[connection] = None

    def fell_busy(self, connection: Evictable) -> None:
        """Note that it has a request in hand: it cannot be sent away."""
        self._idle_strangers.pop(connection, None)
        self._idle_known.pop(connection, None)

    def known_fell_idle(self, connections: Iterable[Evictable]) -> None:
        """Do the same for several at once that are open and known."""
        self._idle_known.update(dict.fromkeys(connections))

    def known_fell_busy(self, connections: Iterable[Evictable]) -> None:
        for connection in connections:
            del self._idle_known[connection]

    def remove(self, connection: Evictable) -> None:
        """Forget it: it is closed, or about to be. May be called again."""
        self.fell_busy(connection)
        self._open.discard(connection)

    def close_idle(self) -> None:
        """Send every idle connection away; those with a request in hand are left."""
        while self.evict():
            pass

    def _idle(self) -> Iterator[Evictable]:
        yield from self._idle_strangers
        yield from self._idle_known
