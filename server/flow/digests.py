"""By what the events of a batch are known: each by its id, and some by their bodies too."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TypeVar

from storage.codec.records import split_digests
from storage.frozen import frozen
from storage.model import Span

T = TypeVar("T")


@frozen
class Digests:
    """Of some events, in order."""

    ids: Sequence[bytes]
    bodies: Mapping[int, bytes] = field(default_factory=dict)
    """By position. Of an event of which another with an equal body is a duplicate."""

    @property
    def all(self) -> Sequence[bytes]:
        """Every digest: those of the ids, then those of the bodies."""
        return [*self.ids, *self.bodies.values()] if self.bodies else self.ids

    def for_all(self, column: Sequence[T]) -> Sequence[T]:
        """Return for each of `all` what the column says of its event."""
        return [*column, *(column[at] for at in self.bodies)] if self.bodies else column

    def at(self, position: int) -> tuple[bytes, ...]:
        """Return those of one event."""
        return both(self.ids[position], self.bodies.get(position, b""))

    def part(self, positions: Sequence[int]) -> "Digests":
        """Return those of the events at these positions."""
        bodies = {place: self.bodies[at] for place, at in enumerate(positions) if at in self.bodies}
        return Digests([self.ids[at] for at in positions], bodies)


def both(id_digest: bytes, body_digest: bytes) -> tuple[bytes, ...]:
    """Return by what one event is known. `body_digest`: b"" if it is known by its id alone."""
    return (id_digest, body_digest) if body_digest else (id_digest,)


def digests_of(spans: Sequence[Span]) -> Digests:
    """Return those of the events of these spans, in order."""
    ids = split_digests(b"".join([span.digests for span in spans]))
    if not any(span.body_digests for span in spans):
        return Digests(ids)
    return Digests(ids, {at: each for at, each in enumerate(bodies_of(spans)) if each})


def bodies_of(spans: Sequence[Span]) -> list[bytes]:
    """Return for each event of these spans the digest of its body; b"" if it is known by its id alone."""
    return [each for span in spans for each in split_digests(span.body_digests) or [b""] * len(span.numbers)]
