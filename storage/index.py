"""Which ids were processed: from a digest to the number of its processed event, in memory.

Exact in two steps. New entries stand in a dict by their whole digest; sealed ones in immutable sorted generations as
(8 bytes of the digest, number), so a hit there is to be confirmed against the digests on disk (`Reader.confirm`), and a
miss needs nothing. An entry is kept for at least the window: a generation is dropped whole when its newest entry leaves
it, and generations are merged only while together they span an eighth of the window, so what is kept longer is bounded.

Sealing and merging sort millions of integers, which takes too long for an event loop:

    job = index.merge_job()     # on the loop: what is due, if anything
    job.run()                   # on any thread; the index serves on meanwhile
    index.install(job)          # on the loop

Everything but `job.run` and `rebuild` belongs to one thread. A set of Python bytes would take six times the memory; one
sorted array for everything would have to be rewritten for every batch.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray

from storage.records import DIGEST_BYTES

Words = NDArray[numpy.uint64]

SEAL_EVENTS = 65536
"""Entries in the dict before it is sealed: about 10 MB."""
MERGE_RATIO = 4
"""A generation is merged with newer ones that together are more than a quarter of it."""
SPANS = 8
"""Generations of full span in a window."""
GENERATION_EVENTS_MAX = 1 << 23
"""Entries in one generation: what a merge copies, 128 MiB."""
_ENTRY_BYTES = sys.getsizeof(bytes(DIGEST_BYTES)) + sys.getsizeof(1 << 40)


@dataclass(frozen=True, slots=True)
class Generation:
    """Entries sorted by fingerprint."""

    fingerprints: Words
    numbers: Words
    oldest_ms: int
    newest_ms: int

    def __len__(self) -> int:
        return len(self.fingerprints)


@dataclass(frozen=True, slots=True)
class Probe:
    """What the index knows of some digests, by their positions among those asked for."""

    known: dict[int, int]
    """Position to the number of the processed event: certain."""
    unsure: list[tuple[int, int]]
    """Position and a candidate: the same id if the event of this number has this digest. A position may come twice."""


@dataclass(slots=True)
class _Tail:
    """The newest entries, by digest."""

    numbers: dict[bytes, int] = field(default_factory=dict)
    oldest_ms: int = 0
    newest_ms: int = 0


@dataclass(slots=True)
class Job:
    """A tail to seal and generations to merge with it."""

    tail: _Tail
    merged: list[Generation]
    result: Generation | None = None

    def run(self) -> None:
        """Sort. Touches nothing of the index; the sorting itself leaves the interpreter free."""
        digests = b"".join(self.tail.numbers)
        numbers = numpy.fromiter(self.tail.numbers.values(), numpy.uint64, len(self.tail.numbers))
        sealed = _sorted([_fingerprints(digests)], [numbers], self.tail.oldest_ms, self.tail.newest_ms)
        self.result = _merge([*self.merged, sealed])


class DedupIndex:
    """The index of all sources."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._span_ms = max(window_ms // SPANS, 1)
        self._tail = _Tail()
        self._sealing: Job | None = None
        self._generations: list[Generation] = []

    def __len__(self) -> int:
        return sum(map(len, self._generations)) + sum(len(tail.numbers) for tail in self._tails())

    @property
    def memory_bytes(self) -> int:
        """About what the index holds of memory."""
        arrays = sum(part.fingerprints.nbytes + part.numbers.nbytes for part in self._generations)
        dicts = sum(sys.getsizeof(tail.numbers) + len(tail.numbers) * _ENTRY_BYTES for tail in self._tails())
        return arrays + dicts

    def add(self, digests: bytes, numbers: Sequence[int], at_ms: int) -> None:
        """These events were processed: 16 bytes of digest an event."""
        tail = self._tail
        if not tail.numbers:
            tail.oldest_ms = tail.newest_ms = at_ms
        tail.oldest_ms = min(tail.oldest_ms, at_ms)
        tail.newest_ms = max(tail.newest_ms, at_ms)
        tail.numbers.update(zip(_split(digests), numbers, strict=True))

    def probe(self, digests: bytes) -> Probe:
        """Which of these are known. Ask for many at once."""
        known: dict[int, int] = {}
        for tail in self._tails():
            numbers = tail.numbers
            for position, digest in enumerate(_split(digests)):
                if digest in numbers:
                    known.setdefault(position, numbers[digest])
        unsure: list[tuple[int, int]] = []
        if self._generations and len(known) * DIGEST_BYTES < len(digests):
            fingerprints = _fingerprints(digests)
            order = fingerprints.argsort()
            wanted = fingerprints[order]
            for generation in reversed(self._generations):
                _hits(generation, wanted, order, unsure)
        return Probe(known, [hit for hit in unsure if hit[0] not in known] if known else unsure)

    def expire(self, now_ms: int) -> None:
        """Drop what left the window."""
        bound = now_ms - self._window_ms
        self._generations = [part for part in self._generations if part.newest_ms >= bound]
        if self._tail.numbers and self._tail.newest_ms < bound:
            self._tail = _Tail()

    # Sealing and merging.

    def merge_job(self) -> Job | None:
        """What is due now; None where nothing is, or while another job is not installed."""
        tail = self._tail
        due = len(tail.numbers) >= SEAL_EVENTS or tail.newest_ms - tail.oldest_ms >= self._span_ms
        if self._sealing is not None or not due:
            return None
        self._sealing = Job(tail, self._to_merge(tail))
        self._tail = _Tail()
        return self._sealing

    def install(self, job: Job) -> None:
        """Put the result of a job that ran in the place of what it was made of."""
        if job is not self._sealing or job.result is None:
            raise ValueError("only the job in hand, after it ran, can be installed")
        self._sealing = None
        made_of = set(map(id, job.merged))
        self._generations = [part for part in self._generations if id(part) not in made_of]
        self._generations.append(job.result)

    def rebuild(self, chunks: Iterable[tuple[bytes, Words, int]], now_ms: int) -> None:
        """Fill an empty index from (digests, numbers, at_ms of the newest), in about the order of time.

        Takes a while, on any thread; until it returns nothing else of the index may be used.
        """
        if len(self):
            raise ValueError("only an empty index can be rebuilt")
        pile = _Pile()
        for digests, numbers, at_ms in chunks:
            if pile.count and (at_ms - pile.oldest_ms >= self._span_ms or pile.count >= GENERATION_EVENTS_MAX):
                self._generations.append(pile.sealed())
                pile = _Pile()
            pile.add(digests, numbers, at_ms)
        if pile.count:
            self._generations.append(pile.sealed())
        self.expire(now_ms)

    def _to_merge(self, tail: _Tail) -> list[Generation]:
        """The newest generations that are not much larger than what is newer, as far as their span allows."""
        count = len(tail.numbers)
        taken: list[Generation] = []
        for part in reversed(self._generations):
            spans = tail.newest_ms - part.oldest_ms >= self._span_ms
            if spans or len(part) > MERGE_RATIO * count or len(part) + count > GENERATION_EVENTS_MAX:
                break
            taken.append(part)
            count += len(part)
        return taken[::-1]

    def _tails(self) -> list[_Tail]:
        """The newest first."""
        return [self._tail] if self._sealing is None else [self._tail, self._sealing.tail]


@dataclass(slots=True)
class _Pile:
    """Chunks that become one generation."""

    fingerprints: list[Words] = field(default_factory=list)
    numbers: list[Words] = field(default_factory=list)
    count: int = 0
    oldest_ms: int = 0
    newest_ms: int = 0

    def add(self, digests: bytes, numbers: Words, at_ms: int) -> None:
        self.oldest_ms = min(self.oldest_ms, at_ms) if self.count else at_ms
        self.newest_ms = max(self.newest_ms, at_ms)
        self.fingerprints.append(_fingerprints(digests))
        self.numbers.append(numbers)
        self.count += len(numbers)

    def sealed(self) -> Generation:
        return _sorted(self.fingerprints, self.numbers, self.oldest_ms, self.newest_ms)


def _split(digests: bytes) -> list[bytes]:
    return [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]


def _fingerprints(digests: bytes) -> Words:
    """The first half of each digest; a copy, since a view would keep the other half alive."""
    return numpy.frombuffer(digests, "<u8")[::2].copy()


def _sorted(fingerprints: Sequence[Words], numbers: Sequence[Words], oldest_ms: int, newest_ms: int) -> Generation:
    """Stable, so that sorted parts are merged and not sorted again."""
    together = numpy.concatenate(fingerprints)
    order = together.argsort(kind="stable")
    return Generation(together[order], numpy.concatenate(numbers)[order], oldest_ms, newest_ms)


def _merge(parts: Sequence[Generation]) -> Generation:
    if len(parts) == 1:
        return parts[0]
    return _sorted(
        [part.fingerprints for part in parts],
        [part.numbers for part in parts],
        min(part.oldest_ms for part in parts),
        max(part.newest_ms for part in parts),
    )


def _hits(generation: Generation, wanted: Words, order: NDArray[numpy.intp], found: list[tuple[int, int]]) -> None:
    """Add a (position, number) for every entry of the generation whose fingerprint is wanted."""
    fingerprints = generation.fingerprints
    places = fingerprints.searchsorted(wanted)
    places[places == len(fingerprints)] = 0
    for at in numpy.flatnonzero(fingerprints[places] == wanted).tolist():
        place = int(places[at])
        while place < len(fingerprints) and fingerprints[place] == wanted[at]:
            found.append((int(order[at]), int(generation.numbers[place])))
            place += 1
