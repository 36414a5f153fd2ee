"""Which ids were processed: from a digest to the number of its processed event, in memory and, beyond it, in files.

Exact in two steps. New entries stand in a dict by their whole digest; sealed ones in immutable sorted generations
(`runs.py`) as (8 bytes of the digest, number), so a hit there is to be confirmed against the digests on disk
(`Reader.confirm`), and a miss needs nothing. An entry is kept for at least the window: a generation is dropped whole
when its newest entry leaves it, and generations are merged only while together they span an eighth of the window, so
what is kept longer is bounded.

Where more entries are in memory than `memory_ids_max`, the oldest generations go into mapped files (`overflow.py`).
Where the disk has no room for them they stay in memory, `overflow_error` says so, and every job tries again. Asking a
file may wait for the disk, so `probe` leaves that to `Probe.candidates`, off the loop.

Sealing and merging sort many integers, which takes too long for an event loop:

    job = index.merge_job()     # on the loop: what is due, if anything
    job.run()                   # on any thread; the index serves on meanwhile
    index.install(job)          # on the loop
    job.let_go()                # on any thread: freeing what was replaced takes milliseconds too

All but `job.run`, `job.let_go`, `Probe.candidates` and `rebuild` belongs to one thread. A set of Python bytes would
take five times the memory; one sorted array for everything would have to be rewritten for every batch.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from storage.codec.records import DIGEST_BYTES
from storage.dedup import overflow
from storage.dedup.jobs import Job, Moves, Pile, Tail, fingerprints
from storage.dedup.runs import Generation, Hit, Wanted, WantedFew, Words, find

SEAL_EVENTS = 65536
"""Entries in the dict before it is sealed: about 10 MB."""
MERGE_RATIO = 4
"""A generation is merged with newer ones that together are more than a quarter of it."""
SPANS = 8
"""Generations of full span in a window."""
GENERATION_EVENTS_MAX = 1 << 22
"""Entries in one generation in memory: what a merge copies, 72 MiB."""
MAPPED_EVENTS_MAX = 1 << 24
"""Entries in one mapped generation: a merge writes 288 MiB."""
MEMORY_PARTS = 4
"""Generations in memory when it is full, at least: the oldest leaves, and the newer ones stay."""
FEW = 16
"""Up to so many are looked up one by one: 1.5 µs each, where a call with arrays takes 30."""
_ENTRY_BYTES = sys.getsizeof(bytes(DIGEST_BYTES)) + sys.getsizeof(1 << 40)


@dataclass(frozen=True, slots=True)
class Probe:
    """What the index knows of some digests, by their positions among those asked for."""

    known: dict[int, int]
    """Position to the number of the processed event: certain."""
    unsure: list[Hit]
    """Position and a candidate: the same id if the event of this number has this digest. A position may come twice."""
    wanted: Wanted | None
    unread: list[Generation]
    """Mapped generations, the newest first, that are still to be asked for what is `wanted`."""

    @property
    def certain(self) -> bool:
        """What is known is all there is."""
        return not self.unsure and not self.unread

    def candidates(self) -> list[Hit]:
        """What is unsure, and what the mapped files add to it. May wait for the disk; for any thread."""
        found = list(self.unsure)
        if self.wanted is not None:
            for part in self.unread:
                found += _hits(part, self.wanted, self.known)
        return found


class DedupIndex:
    """The index of all sources. Without a directory it is all in memory."""

    def __init__(self, window_ms: int, memory_ids_max: int = sys.maxsize, directory: Path | None = None) -> None:
        self._window_ms = window_ms
        self._span_ms = max(window_ms // SPANS, 1)
        self._memory_ids_max = memory_ids_max
        self._generation_events_max = max(min(GENERATION_EVENTS_MAX, memory_ids_max // MEMORY_PARTS), SEAL_EVENTS)
        self._directory = directory
        self._tail = Tail()
        self._sealing: Job | None = None
        self._generations: list[Generation] = []
        self._mapped: list[Generation] = []
        self.overflow_error: OSError | None = None
        """Why more is in memory than should be, if so."""

    def __len__(self) -> int:
        return sum(map(len, [*self._mapped, *self._generations])) + sum(len(tail.numbers) for tail in self._tails())

    @property
    def mapped_ids(self) -> int:
        """Entries in files."""
        return sum(map(len, self._mapped))

    @property
    def memory_bytes(self) -> int:
        """About what the index holds of memory; mapped files do not count."""
        dicts = sum(sys.getsizeof(tail.numbers) + len(tail.numbers) * _ENTRY_BYTES for tail in self._tails())
        return dicts + sum(part.nbytes for part in self._generations)

    def add(self, digests: Sequence[bytes], numbers: Sequence[int], at_ms: int) -> None:
        """The events of these ids were processed."""
        tail = self._tail
        if not tail.numbers:
            tail.oldest_ms = tail.newest_ms = at_ms
        tail.oldest_ms = min(tail.oldest_ms, at_ms)
        tail.newest_ms = max(tail.newest_ms, at_ms)
        tail.numbers.update(zip(digests, numbers, strict=True))

    def probe(self, digests: Sequence[bytes]) -> Probe:
        """Which of these are known. Ask for many at once."""
        known: dict[int, int] = {}
        for tail in self._tails():
            numbers = tail.numbers
            if not numbers.keys().isdisjoint(digests):
                for position, digest in enumerate(digests):
                    if digest in numbers:
                        known.setdefault(position, numbers[digest])
        if not (self._generations or self._mapped) or len(known) >= len(digests):
            return Probe(known, [], None, [])
        wanted = fingerprints(b"".join(digests))
        many = Wanted(wanted) if self._mapped or len(wanted) > FEW else None
        asked = many if many is not None and len(wanted) > FEW else WantedFew(wanted)
        unsure = [hit for part in reversed(self._generations) for hit in _hits(part, asked, known)]
        return Probe(known, unsure, many, self._mapped[::-1])

    def expire(self, now_ms: int) -> list[Generation]:
        """Drop what left the window. Returns it, to be let go of on another thread: freeing it takes milliseconds."""
        bound = now_ms - self._window_ms
        dropped = [part for part in chain(self._generations, self._mapped) if part.newest_ms < bound]
        if dropped:
            self._generations = _without(self._generations, dropped)
            self._mapped = _without(self._mapped, dropped)
        if self._tail.numbers and self._tail.newest_ms < bound:
            self._tail = Tail()
        return dropped

    # Sealing, merging, and moving to files.

    def merge_job(self) -> Job | None:
        """What is due now; None where nothing is, or while another job is not installed."""
        tail = self._tail
        due = len(tail.numbers) >= SEAL_EVENTS or tail.newest_ms - tail.oldest_ms >= self._span_ms
        if self._sealing is not None or not due:
            return None
        merged = self._mergeable(self._generations, tail.newest_ms, len(tail.numbers), self._generation_events_max)
        staying = len(tail.numbers) + sum(map(len, merged))
        moves = self._moves(self._generations[: len(self._generations) - len(merged)], staying)
        self._sealing = Job(tail, merged, moves)
        self._tail = Tail()
        return self._sealing

    def install(self, job: Job) -> None:
        """Put the result of a job that ran in the place of what it was made of."""
        if job is not self._sealing or job.result is None:
            raise ValueError("only the job in hand, after it ran, can be installed")
        self._sealing = None
        self._generations = [*_without(self._generations, job.merged), job.result]
        self._install_moves(job.moves)

    def rebuild(self, chunks: Iterable[tuple[bytes, Words, int]], now_ms: int) -> None:
        """Fill an empty index from (digests, numbers, at_ms of the newest), in about the order of time.

        Takes a while, on any thread; until it returns nothing else of the index may be used.
        """
        if len(self):
            raise ValueError("only an empty index can be rebuilt")
        if self._directory is not None:
            overflow.remove_leftovers(self._directory)
        pile = Pile()
        for digests, numbers, at_ms in chunks:
            full = pile.count + len(numbers) > self._generation_events_max
            if pile.count and (full or at_ms - pile.oldest_ms >= self._span_ms):
                self._take_in(pile)
                pile = Pile()
            pile.add(digests, numbers, at_ms)
        if pile.count:
            self._take_in(pile)
        self.expire(now_ms)

    def _take_in(self, pile: Pile) -> None:
        self._generations.append(pile.sealed())
        moves = self._moves(self._generations, 0)
        if moves is not None:
            moves.run()
        self._install_moves(moves)

    def _moves(self, movable: list[Generation], staying: int) -> Moves | None:
        """The oldest of what is movable, as far as there is too much in memory, with the mapped ones to merge with."""
        excess = staying + sum(map(len, movable)) - self._memory_ids_max
        leaving: list[Generation] = []
        for part in movable:
            if excess <= 0 or self._directory is None:
                break
            leaving.append(part)
            excess -= len(part)
        if not leaving or self._directory is None:
            return None
        left, groups = [*self._mapped, *leaving], []
        while left and not left[-1].mapped:
            part = left.pop()
            older = self._mergeable(left, part.newest_ms, len(part), MAPPED_EVENTS_MAX)
            del left[len(left) - len(older) :]
            groups.append([*older, part])
        return Moves(groups[::-1], self._directory)

    def _install_moves(self, moves: Moves | None) -> None:
        if moves is None:
            return
        for group, made in moves.files:
            self._generations = _without(self._generations, group)
            self._mapped = [*_without(self._mapped, group), made]
        self._mapped.sort(key=lambda part: part.newest_ms)
        self.overflow_error = moves.error

    def _mergeable(self, parts: Sequence[Generation], newest_ms: int, count: int, limit: int) -> list[Generation]:
        """The last ones that are not much larger than what is newer, as far as their span and the limit allow."""
        taken: list[Generation] = []
        for part in reversed(parts):
            spans = newest_ms - part.oldest_ms >= self._span_ms
            if spans or len(part) > MERGE_RATIO * count or len(part) + count > limit:
                break
            taken.append(part)
            count += len(part)
        return taken[::-1]

    def _tails(self) -> list[Tail]:
        """The newest first."""
        return [self._tail] if self._sealing is None else [self._tail, self._sealing.tail]


def _hits(part: Generation, wanted: Wanted | WantedFew, known: dict[int, int]) -> list[Hit]:
    passing, positions = wanted.passing(part)
    return [hit for hit in find(part, passing, positions) if hit[0] not in known] if len(passing) else []


def _without(parts: Iterable[Generation], gone: Iterable[Generation]) -> list[Generation]:
    """By identity: generations are never compared by their content."""
    ids = set(map(id, gone))
    return [part for part in parts if id(part) not in ids]
