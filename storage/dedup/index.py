"""Which ids and bodies were processed: maps a digest to the number of its event, in memory and, beyond that, in files.

A log-structured merge index, exact in two steps. New entries are in the memtable, a dict by whole digest; sealed ones
in immutable sorted runs (`runs.py`) of (8 bytes of the digest, number), so a hit there must be confirmed against the
store (`Reader.processed_at`), and a miss needs nothing. All times are the store's. An entry is kept for at least the
window: a run is dropped whole when its newest entry leaves the window of all that may yet be asked for, and runs are
merged only while together they span an eighth of the time that they stay. So an entry that is found may have left the
window: whoever asks compares, and needs no look into the store where `probe` says that all is inside it.

If more than `memory_ids_max` entries are in memory, the oldest runs are spilled into mapped files (`spill.py`). If the
disk has no room they stay in memory, `spill_error` says why, and every job tries again. Reading a file may wait for the
disk, so `probe` leaves that to `Probe.candidates`, off the loop.

Sealing and merging sort many integers, which takes too long for an event loop:

    job = index.merge_job()     # on the loop: the work that is due, if any
    job.run()                   # on any thread; the index stays usable meanwhile
    index.install(job)          # on the loop
    job.release()               # on any thread: freeing what was replaced takes milliseconds too

All but `job.run`, `job.release`, `Probe.candidates` and `rebuild` belong to one thread. A set of Python bytes would
take five times the memory; a single sorted array would have to be rewritten for every batch.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from storage.codec.records import DIGEST_BYTES
from storage.dedup import spill
from storage.dedup.jobs import Job, Memtable, RunBuilder, Spill, fingerprints
from storage.dedup.runs import Hit, Query, Run, SmallQuery, Words, find

SEAL_EVENTS = 65536
"""Entries in the memtable when it is sealed: about 10 MB."""
MERGE_RATIO = 4
"""A run is merged with newer ones that together exceed a quarter of it."""
SPANS = 8
"""Runs of the longest span that cover the time for which entries stay."""
RUN_EVENTS_MAX = 1 << 22
"""Entries in one run in memory: a merge copies 72 MiB."""
MAPPED_RUN_EVENTS_MAX = 1 << 24
"""Entries in one mapped run: a merge writes 288 MiB."""
MEMORY_RUNS_MIN = 4
"""Runs in memory when it is full, so that spilling the oldest leaves the newer ones."""
SMALL_QUERY_MAX = 16
"""Up to this many are looked up one by one: 1.5 µs each, while a call with arrays takes 30."""
_ENTRY_BYTES = sys.getsizeof(bytes(DIGEST_BYTES)) + sys.getsizeof(1 << 40)


@dataclass(frozen=True, slots=True)
class Probe:
    """The result for some digests, by their positions in the query."""

    known: dict[int, int]
    """Position to the number of the processed event, for certain hits inside the window."""
    unconfirmed: list[Hit]
    """Positions with candidates: a hit if the event of this number has this digest. A position may occur twice."""
    wanted: Query | None
    unread_runs: list[Run]
    """Mapped runs, newest first, in which `wanted` is still to be looked up."""

    @property
    def certain(self) -> bool:
        """Whether `known` is complete: nothing to confirm or read."""
        return not self.unconfirmed and not self.unread_runs

    def candidates(self) -> list[Hit]:
        """Return `unconfirmed` and the candidates in mapped files. May wait for the disk; for any thread."""
        found = list(self.unconfirmed)
        if self.wanted is not None:
            for run in self.unread_runs:
                found += _hits(run, self.wanted, self.known)
        return found


class DedupIndex:
    """The index of all sources. Without a directory, all of it stays in memory."""

    def __init__(
        self, window_ms: int, memory_ids_max: int = sys.maxsize, directory: Path | None = None, *, longer_ms: int = 0
    ) -> None:
        """`longer_ms`: for how long after their window entries stay at least, whoever may ask: spans grow with it, so
        that a short window does not make many runs.
        """
        self.window_ms = window_ms
        self._span_ms = max((window_ms + longer_ms) // SPANS, 1)
        self._memory_ids_max = memory_ids_max
        self._run_events_max = max(min(RUN_EVENTS_MAX, memory_ids_max // MEMORY_RUNS_MIN), SEAL_EVENTS)
        self._directory = directory
        self._memtable = Memtable()
        self._sealing: Job | None = None
        self._runs: list[Run] = []
        self._mapped: list[Run] = []
        self.spill_error: OSError | None = None
        """Why more than `memory_ids_max` is in memory, if so."""

    def __len__(self) -> int:
        return sum(map(len, [*self._mapped, *self._runs])) + sum(len(each.numbers) for each in self._memtables())

    @property
    def mapped_ids(self) -> int:
        """Entries in files."""
        return sum(map(len, self._mapped))

    @property
    def memory_bytes(self) -> int:
        """The approximate memory of the index, without mapped files."""
        memtables = [each.numbers for each in self._memtables()]
        dicts = sum(sys.getsizeof(numbers) + len(numbers) * _ENTRY_BYTES for numbers in memtables)
        return dicts + sum(run.nbytes for run in self._runs)

    def add(self, digests: Sequence[bytes], numbers: Sequence[int], at_ms: int) -> None:
        """Add these ids; call when their events are processed. `at_ms` is when, by the store's time."""
        memtable = self._memtable
        if not memtable.numbers:
            memtable.oldest_ms = memtable.newest_ms = at_ms
        memtable.oldest_ms = min(memtable.oldest_ms, at_ms)
        memtable.newest_ms = max(memtable.newest_ms, at_ms)
        memtable.numbers.update(zip(digests, numbers, strict=True))

    def probe(self, digests: Sequence[bytes], received_ms: int = 0) -> Probe:
        """Return which of these digests are known. Cheaper for many at once.

        `received_ms`: when the last of their events was received.
        """
        known: dict[int, int] = {}
        unsure: list[Hit] = []
        for memtable in self._memtables():
            hits = memtable.hits(digests)
            if memtable.oldest_ms + self.window_ms > received_ms:
                known = dict(hits) | known
            else:
                unsure += hits
        if not (self._runs or self._mapped) or len(known) >= len(digests):
            return Probe(known, unsure, None, [])
        wanted = fingerprints(b"".join(digests))
        many = Query(wanted) if self._mapped or len(wanted) > SMALL_QUERY_MAX else None
        asked = many if many is not None and len(wanted) > SMALL_QUERY_MAX else SmallQuery(wanted)
        unconfirmed = [hit for run in reversed(self._runs) for hit in _hits(run, asked, known)]
        return Probe(known, unsure + unconfirmed, many, self._mapped[::-1])

    def is_due(self, received_ms: int) -> bool:
        """Return whether `expire` would drop anything."""
        parts: list[Run | Memtable] = [*self._runs, *self._mapped, self._memtable]
        return any(self._left(part, received_ms) for part in parts)

    def expire(self, received_ms: int) -> list[Run]:
        """Drop and return the runs that left the window, to be freed on another thread: that takes milliseconds.

        `received_ms`: what may yet be asked for was not received before.
        """
        dropped = [run for run in chain(self._runs, self._mapped) if self._left(run, received_ms)]
        if dropped:
            self._runs = _without(self._runs, dropped)
            self._mapped = _without(self._mapped, dropped)
        if self._left(self._memtable, received_ms):
            self._memtable = Memtable()
        return dropped

    def _left(self, part: Run | Memtable, received_ms: int) -> bool:
        return len(part) > 0 and part.newest_ms + self.window_ms <= received_ms

    # Sealing, merging and spilling.

    def merge_job(self) -> Job | None:
        """Return the job that is due; None if none is, or while another one is not installed."""
        memtable = self._memtable
        count = len(memtable.numbers)
        due = count >= SEAL_EVENTS or memtable.newest_ms - memtable.oldest_ms >= self._span_ms
        if self._sealing is not None or not due:
            return None
        merged = self._mergeable(self._runs, memtable.newest_ms, count, self._run_events_max)
        others = self._runs[: len(self._runs) - len(merged)]
        self._sealing = Job(memtable, merged, self._spill(others, count + sum(map(len, merged))))
        self._memtable = Memtable()
        return self._sealing

    def install(self, job: Job) -> None:
        """Replace the inputs of a job by its result; call once it has run."""
        if job is not self._sealing or job.result is None:
            raise ValueError("only the current job can be installed, after it has run")
        self._sealing = None
        self._runs = [*_without(self._runs, job.merged), job.result]
        self._install_spill(job.spill)

    def rebuild(self, chunks: Iterable[tuple[bytes, Words, int, int]], received_ms: int) -> None:
        """Fill an empty index from chunks as `Reader.processed_since` gives them, roughly in order of time.

        Slow; for any thread. Until it returns, nothing else of the index may be used. `received_ms` as for `expire`.
        """
        if len(self):
            raise ValueError("only an empty index can be rebuilt")
        if self._directory is not None:
            spill.remove_leftovers(self._directory)
        builder = RunBuilder()
        for digests, numbers, oldest_ms, newest_ms in chunks:
            full = builder.count + len(numbers) > self._run_events_max
            if builder.count and (full or newest_ms - builder.oldest_ms >= self._span_ms):
                self._append(builder.build())
                builder = RunBuilder()
            builder.add(digests, numbers, oldest_ms, newest_ms)
        if builder.count:
            self._append(builder.build())
        self.expire(received_ms)

    def _append(self, run: Run) -> None:
        self._runs.append(run)
        leaving = self._spill(self._runs, 0)
        if leaving is not None:
            leaving.run()
        self._install_spill(leaving)

    def _spill(self, runs: list[Run], staying: int) -> Spill | None:
        """Return a spill of the oldest runs that exceed the memory, with the mapped runs to merge them with."""
        excess = staying + sum(map(len, runs)) - self._memory_ids_max
        leaving: list[Run] = []
        for run in runs:
            if excess <= 0 or self._directory is None:
                break
            leaving.append(run)
            excess -= len(run)
        if not leaving or self._directory is None:
            return None
        left, groups = [*self._mapped, *leaving], []
        while left and not left[-1].mapped:
            run = left.pop()
            older = self._mergeable(left, run.newest_ms, len(run), MAPPED_RUN_EVENTS_MAX)
            del left[len(left) - len(older) :]
            groups.append([*older, run])
        return Spill(groups[::-1], self._directory)

    def _install_spill(self, spilled: Spill | None) -> None:
        if spilled is None:
            return
        for group, made in spilled.files:
            self._runs = _without(self._runs, group)
            self._mapped = [*_without(self._mapped, group), made]
        self._mapped.sort(key=lambda run: run.newest_ms)
        self.spill_error = spilled.error

    def _mergeable(self, runs: Sequence[Run], newest_ms: int, count: int, limit: int) -> list[Run]:
        """Return the last runs not much larger than what is newer, as far as their span and the limit allow."""
        found: list[Run] = []
        for run in reversed(runs):
            spans = newest_ms - run.oldest_ms >= self._span_ms
            if spans or len(run) > MERGE_RATIO * count or len(run) + count > limit:
                break
            found.append(run)
            count += len(run)
        return found[::-1]

    def _memtables(self) -> list[Memtable]:
        """Return the memtables, newest first."""
        return [self._memtable] if self._sealing is None else [self._memtable, self._sealing.memtable]


def _hits(run: Run, wanted: Query | SmallQuery, known: dict[int, int]) -> list[Hit]:
    passing, positions = wanted.passing(run)
    return [hit for hit in find(run, passing, positions) if hit[0] not in known] if len(passing) else []


def _without(runs: Iterable[Run], gone: Iterable[Run]) -> list[Run]:
    """Return the other runs. By identity: runs are never compared by content."""
    ids = set(map(id, gone))
    return [run for run in runs if id(run) not in ids]
