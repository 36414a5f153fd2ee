"""The jobs that make sorted runs: sealing the memtable, merging, building from the store, spilling."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from storage.dedup import spill
from storage.dedup.runs import Entries, Hit, Run, Words, build, sort


@dataclass(slots=True)
class Memtable:
    """The newest entries, by digest."""

    numbers: dict[bytes, int] = field(default_factory=dict)
    oldest_ms: int = 0
    newest_ms: int = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def hits(self, digests: Sequence[bytes]) -> list[Hit]:
        """Return which of these digests it has."""
        numbers = self.numbers
        if numbers.keys().isdisjoint(digests):
            return []
        return [(position, numbers[digest]) for position, digest in enumerate(digests) if digest in numbers]

    def entries(self) -> Entries:
        numbers = numpy.fromiter(self.numbers.values(), numpy.uint64, len(self.numbers))
        return sort(fingerprints(b"".join(self.numbers)), numbers)


@dataclass(slots=True)
class Spill:
    """Runs to move out of memory: each group becomes one mapped file."""

    groups: list[list[Run]]
    directory: Path
    files: list[tuple[list[Run], Run]] = field(default_factory=list)
    """The groups written so far, each with its mapped run."""
    error: OSError | None = None
    """Why the others were not written."""

    def run(self) -> None:
        """Write as many groups as the disk allows."""
        try:
            for group in self.groups:
                parts = [run.entries for run in group]
                self.files.append((group, spill.write(parts, *times(group), self.directory)))
        except OSError as error:
            self.error = error


@dataclass(slots=True)
class Job:
    """A memtable to seal, runs to merge with it, and others to spill."""

    memtable: Memtable
    merged: list[Run]
    spill: Spill | None
    result: Run | None = None

    def run(self) -> None:
        """Sort and write, without touching the index. Sorting itself releases the interpreter lock."""
        oldest_ms, newest_ms = times([*self.merged, self.memtable])
        parts = [*(run.entries for run in self.merged), self.memtable.entries()]
        self.result = build(parts, oldest_ms, newest_ms)
        if self.spill is not None:
            self.spill.run()

    def release(self) -> None:
        """Free all inputs and results; takes milliseconds."""
        self.merged, self.spill, self.result = [], None, None


@dataclass(slots=True)
class RunBuilder:
    """Collects chunks for one run."""

    parts: list[Entries] = field(default_factory=list)
    count: int = 0
    oldest_ms: int = 0
    newest_ms: int = 0

    def add(self, digests: bytes, numbers: Words, oldest_ms: int, newest_ms: int) -> None:
        self.oldest_ms = min(self.oldest_ms, oldest_ms) if self.count else oldest_ms
        self.newest_ms = max(self.newest_ms, newest_ms)
        self.parts.append(sort(fingerprints(digests), numbers))
        self.count += len(numbers)

    def build(self) -> Run:
        return build(self.parts, self.oldest_ms, self.newest_ms)


def fingerprints(digests: bytes) -> Words:
    """Return the first half of each digest, copied: a view would keep the other half alive."""
    return numpy.frombuffer(digests, "<u8")[::2].copy()


def times(parts: Sequence[Run | Memtable]) -> tuple[int, int]:
    """Return when the oldest and the newest of all entries were processed, in ms."""
    return min(part.oldest_ms for part in parts), max(part.newest_ms for part in parts)
