"""One amount of memory shared by all sources, so that no single one can use it all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class ByteBudget:
    """Counts bytes held, per source. A source gets room only while it holds less than is still free.

    So one hanging source can hold half of it, a second one a quarter, and there is always room for one more.
    Nothing waits here: `reserve` says yes or no at once, and `listening` tells when room is released.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.held_bytes = 0
        self._held: dict[str, int] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def free_bytes(self) -> int:
        return self.bytes_max - self.held_bytes

    def held_by(self, source_id: str) -> int:
        return self._held.get(source_id, 0)

    def has_room(self, source_id: str) -> bool:
        return self._held.get(source_id, 0) < self.bytes_max - self.held_bytes

    def reserve(self, source_id: str, count: int) -> bool:
        """Reserve room for `count` bytes, all or nothing; return whether there was enough."""
        if not self.has_room(source_id) or count > self.bytes_max - self.held_bytes:
            return False
        self.add(source_id, count)
        return True

    def add(self, source_id: str, count: int) -> None:
        """Count bytes that are held whether there is room or not."""
        self._held[source_id] = self._held.get(source_id, 0) + count
        self.held_bytes += count

    def release(self, source_id: str, count: int) -> None:
        """Release bytes that were reserved or added."""
        left = self._held.get(source_id, 0) - count
        if left < 0:
            raise AssertionError(f"source {source_id} released more than it held")
        if left:
            self._held[source_id] = left
        else:
            self._held.pop(source_id, None)  # whose names a stranger chooses are not collected
        self.held_bytes -= count
        if self._listeners:
            for listener in tuple(self._listeners):
                listener()

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Within the block, call `listener` after each release."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
