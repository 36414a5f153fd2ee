"""Which connections of a listener are open, which are idle, and which is evicted when it is full."""

from collections.abc import Iterable, Iterator
from typing import Protocol


class Evictable(Protocol):
    """A connection as seen here. Hashed by identity."""

    is_authenticated: bool
    """Whether the gate has authenticated a sender on it."""

    def stop_waiting(self) -> None:
        """Close now; called only while idle."""


class Connections:
    """At most `connections_max` open ones. The cost of a call does not depend on their number."""

    def __init__(self, connections_max: int) -> None:
        self._connections_max = connections_max
        self._open: set[Evictable] = set()
        self._idle_unauthenticated: dict[Evictable, None] = {}  # both in the order of becoming idle
        self._idle_authenticated: dict[Evictable, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """Whether another one needs the place of an idle one."""
        return len(self._open) >= self._connections_max

    def add(self, connection: Evictable) -> bool:
        """Add it, idle; if full, evict an idle one for it. Return False if there is no room."""
        if self.is_full and not self.evict():
            return False
        self._open.add(connection)
        self.mark_idle(connection)
        return True

    def evict(self) -> bool:
        """Close one idle connection: unauthenticated first, then the longest idle. Return False if all are busy."""
        for victim in self._idle():
            self.remove(victim)
            victim.stop_waiting()
            return True
        return False

    def mark_idle(self, connection: Evictable) -> None:
        """Note that it has no request in progress. No effect once it was evicted."""
        if connection in self._open:
            (self._idle_authenticated if connection.is_authenticated else self._idle_unauthenticated)[connection] = None

    def mark_busy(self, connection: Evictable) -> None:
        """Note that it has a request in progress, so it cannot be evicted."""
        self._idle_unauthenticated.pop(connection, None)
        self._idle_authenticated.pop(connection, None)

    def mark_all_idle(self, connections: Iterable[Evictable]) -> None:
        """Mark several idle at once; all must be open and authenticated."""
        self._idle_authenticated.update(dict.fromkeys(connections))

    def mark_all_busy(self, connections: Iterable[Evictable]) -> None:
        """Mark several busy at once; all must be idle and authenticated."""
        for connection in connections:
            del self._idle_authenticated[connection]

    def remove(self, connection: Evictable) -> None:
        """Remove it; call when it is closed, or about to be. Idempotent."""
        self.mark_busy(connection)
        self._open.discard(connection)

    def close_idle(self) -> None:
        """Close every idle connection; those with a request in progress stay."""
        while self.evict():
            pass

    def _idle(self) -> Iterator[Evictable]:
        yield from self._idle_unauthenticated
        yield from self._idle_authenticated
