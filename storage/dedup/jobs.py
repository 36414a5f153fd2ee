"""What becomes a generation of the index: the newest entries, what is merged with them, what moves into files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from storage.dedup import overflow
from storage.dedup.runs import Generation, Run, Words, build, sort


@dataclass(slots=True)
class Tail:
    """The newest entries, by digest."""

    numbers: dict[bytes, int] = field(default_factory=dict)
    oldest_ms: int = 0
    newest_ms: int = 0

    def sealed(self) -> Run:
        numbers = numpy.fromiter(self.numbers.values(), numpy.uint64, len(self.numbers))
        return sort(fingerprints(b"".join(self.numbers)), numbers)


@dataclass(slots=True)
class Moves:
    """Groups of generations, each to become one mapped file."""

    groups: list[list[Generation]]
    directory: Path
    files: list[tuple[list[Generation], Generation]] = field(default_factory=list)
    error: OSError | None = None

    def run(self) -> None:
        try:
            for group in self.groups:
                runs = [part.run for part in group]
                self.files.append((group, overflow.write(runs, *times(group), self.directory)))
        except OSError as error:
            self.error = error


@dataclass(slots=True)
class Job:
    """A tail to seal, generations to merge with it, and others that leave the memory."""

    tail: Tail
    merged: list[Generation]
    moves: Moves | None
    result: Generation | None = None

    def run(self) -> None:
        """Sort and write. Touches nothing of the index; the sorting itself leaves the interpreter free."""
        oldest_ms, newest_ms = times([*self.merged, self.tail])
        self.result = build([*(part.run for part in self.merged), self.tail.sealed()], oldest_ms, newest_ms)
        if self.moves is not None:
            self.moves.run()

    def let_go(self) -> None:
        """Of everything that it was made of."""
        self.merged, self.moves, self.result = [], None, None


@dataclass(slots=True)
class Pile:
    """Chunks that become one generation."""

    runs: list[Run] = field(default_factory=list)
    count: int = 0
    oldest_ms: int = 0
    newest_ms: int = 0

    def add(self, digests: bytes, numbers: Words, at_ms: int) -> None:
        self.oldest_ms = min(self.oldest_ms, at_ms) if self.count else at_ms
        self.newest_ms = max(self.newest_ms, at_ms)
        self.runs.append(sort(fingerprints(digests), numbers))
        self.count += len(numbers)

    def sealed(self) -> Generation:
        return build(self.runs, self.oldest_ms, self.newest_ms)


def fingerprints(digests: bytes) -> Words:
    """The first half of each digest; a copy, since a view would keep the other half alive."""
    return numpy.frombuffer(digests, "<u8")[::2].copy()


def times(parts: Sequence[Generation | Tail]) -> tuple[int, int]:
    """Of the oldest and the newest of their entries."""
    return min(part.oldest_ms for part in parts), max(part.newest_ms for part in parts)
