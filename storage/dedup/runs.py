"""Entries of the dedup index that never change: sorted by fingerprint, behind a filter, in memory or in a mapped file.

A fingerprint is 8 bytes of a digest. The filter (a Bloom filter, each entry's bits within one word) answers most
look-ups of what is not there from one place in memory: 1 of 190 passes it by mistake. The words of the filter are in
the order of the fingerprints, so entries are merged slice by slice: whatever the size, the work space is one slice.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

Words = NDArray[numpy.uint64]
Places = NDArray[numpy.intp]
Hit = tuple[int, int]
"""Where it was among what was asked for, and the number that was found."""

ENTRIES_A_WORD = 4
"""16 bits of filter an entry: with 12, twice as many pass by mistake; and each of those may cost a page of a file."""
ENTRY_BYTES = 8 + 8 + 8 // ENTRIES_A_WORD
"""Fingerprint, number, filter."""
SLICE_ENTRIES = 1 << 17
"""Entries merged in one step: some milliseconds."""
GUIDE_STEP = 512
"""Fingerprints in a page of a file."""
_BITS = (0, 6, 12, 18)
"""Where in a fingerprint the places of its bits are taken from. The upper half says which word."""
_NONE: tuple[Words, Places] = (numpy.empty(0, numpy.uint64), numpy.empty(0, numpy.intp))
_ONE, _BIT_MASK, _HALF = numpy.uint64(1), numpy.uint64(63), numpy.uint64(32)


class Run(NamedTuple):
    """Entries sorted by fingerprint."""

    fingerprints: Words
    numbers: Words


class Generation:
    """Entries, and when the oldest and the newest of them were processed. Never changed, compared by identity."""

    __slots__ = ("filter", "guide", "newest_ms", "oldest_ms", "run", "words")

    def __init__(self, run: Run, words: Words, oldest_ms: int, newest_ms: int, *, guide: Words | None = None) -> None:
        self.run = run
        self.filter = words
        self.words = words.data
        """The filter again: one word is read from it ten times as fast as from an array."""
        self.oldest_ms = oldest_ms
        self.newest_ms = newest_ms
        self.guide = guide
        """Of one in a file: every GUIDE_STEP-th fingerprint. Reading all else of it may have to wait for the disk."""

    def __len__(self) -> int:
        return len(self.run.fingerprints)

    @property
    def mapped(self) -> bool:
        """It is in a file."""
        return self.guide is not None

    def places(self, fingerprints: Words) -> Places:
        """Where the first entry is, for each, that is not less."""
        if self.guide is None:
            return self.run.fingerprints.searchsorted(fingerprints)
        return _places_in_pages(self.run.fingerprints, self.guide, fingerprints)

    @property
    def nbytes(self) -> int:
        return self.run.fingerprints.nbytes + self.run.numbers.nbytes + self.filter.nbytes


class Slice(NamedTuple):
    """A part of a generation in the making: entries, their words of the filter, and where both belong."""

    place: int
    run: Run
    word: int
    filter: Words


class Wanted:
    """Fingerprints to be looked for, in order, so that neighbours share what they touch."""

    __slots__ = ("_high", "_masks", "fingerprints", "positions")

    def __init__(self, fingerprints: Words) -> None:
        self.positions = fingerprints.argsort()
        self.fingerprints = fingerprints[self.positions]
        self._high = self.fingerprints >> _HALF
        self._masks = _masks(self.fingerprints)

    def passing(self, generation: Generation) -> tuple[Words, Places]:
        """Those that may be in this generation: fingerprints and positions."""
        words = generation.filter
        found = words.take(((self._high * numpy.uint64(len(words))) >> _HALF).astype(numpy.intp))
        places = numpy.flatnonzero((found & self._masks) == self._masks)
        return self.fingerprints[places], self.positions[places]


class WantedFew:
    """The same for a handful: plain integers have no price of their own a call, as arrays have."""

    __slots__ = ("_wanted",)

    def __init__(self, fingerprints: Words) -> None:
        self._wanted = [(value, _mask(value), value >> 32, at) for at, value in enumerate(fingerprints.tolist())]

    def passing(self, generation: Generation) -> tuple[Words, Places]:
        """Those that may be in this generation: fingerprints and positions."""
        words, count = generation.words, len(generation.words)
        found = [(value, at) for value, mask, high, at in self._wanted if words[(high * count) >> 32] & mask == mask]
        if not found:
            return _NONE
        return numpy.array([value for value, _ in found], numpy.uint64), numpy.array(
            [at for _, at in found], numpy.intp
        )


def find(generation: Generation, fingerprints: Words, positions: Places) -> list[Hit]:
    """Every entry that has one of these fingerprints, as (its position, number)."""
    run, places = generation.run, generation.places(fingerprints)
    places[places == len(run.fingerprints)] = 0
    equal = numpy.flatnonzero(run.fingerprints.take(places) == fingerprints)
    places = places[equal]
    found = list(zip(positions[equal].tolist(), run.numbers.take(places).tolist(), strict=True))
    for at, place in zip(equal.tolist(), (places + 1).tolist(), strict=True):
        beyond = place
        while beyond < len(run.fingerprints) and run.fingerprints[beyond] == fingerprints[at]:
            found.append((int(positions[at]), int(run.numbers[beyond])))
            beyond += 1
    return found


def _places_in_pages(fingerprints: Words, guide: Words, wanted: Words) -> Places:
    """As searchsorted, all of them a step at a time, each within one page. (`take` does not hold up other threads
    while it waits for the disk, as an index in brackets does.)"""
    page = guide.searchsorted(wanted)
    low = numpy.maximum((page - 1) * GUIDE_STEP + 1, 0)
    high = numpy.minimum(page * GUIDE_STEP, len(fingerprints))
    for _ in range(GUIDE_STEP.bit_length()):
        middle = (low + high) >> 1
        less = (fingerprints.take(middle, mode="clip") < wanted) & (low < high)
        low = numpy.where(less, middle + 1, low)
        high = numpy.where(less, high, middle)
    return low


def sort(fingerprints: Words, numbers: Words) -> Run:
    order = fingerprints.argsort()
    return Run(fingerprints[order], numbers[order])


def build(runs: Sequence[Run], oldest_ms: int, newest_ms: int) -> Generation:
    """A generation in memory of all that is in these."""
    count = sum(len(run.fingerprints) for run in runs)
    made = Run(numpy.empty(count, numpy.uint64), numpy.empty(count, numpy.uint64))
    words = numpy.empty(filter_words(count), numpy.uint64)
    for part in merge(runs):
        end = part.place + len(part.run.fingerprints)
        made.fingerprints[part.place : end] = part.run.fingerprints
        made.numbers[part.place : end] = part.run.numbers
        words[part.word : part.word + len(part.filter)] = part.filter
    return Generation(made, words, oldest_ms, newest_ms)


def filter_words(count: int) -> int:
    """Words in the filter of so many entries."""
    return count // ENTRIES_A_WORD + 1


def merge(runs: Sequence[Run]) -> Iterator[Slice]:
    """All entries, in order, slice by slice."""
    count = sum(len(run.fingerprints) for run in runs)
    words = filter_words(count)
    pieces = count // SLICE_ENTRIES + 1
    bounds = [words * piece // pieces for piece in range(pieces + 1)]
    firsts = numpy.array([_first_of_word(word, words) for word in bounds[1:-1]], numpy.uint64)
    ends = [[0, *run.fingerprints.searchsorted(firsts).tolist(), len(run.fingerprints)] for run in runs]
    place = 0
    for piece in range(pieces):
        parts = [slice(each[piece], each[piece + 1]) for each in ends]
        merged = _merged(
            [Run(run.fingerprints[part], run.numbers[part]) for run, part in zip(runs, parts, strict=True)]
        )
        low, high = bounds[piece], bounds[piece + 1]
        yield Slice(place, merged, low, _filter(merged.fingerprints, words, low, high))
        place += len(merged.fingerprints)


def _merged(runs: Sequence[Run]) -> Run:
    if len(runs) == 1:
        return runs[0]
    return sort(numpy.concatenate([run.fingerprints for run in runs]), numpy.concatenate([run.numbers for run in runs]))


def _first_of_word(word: int, words: int) -> int:
    """The least fingerprint whose bits are in this word or a later one."""
    return -(-(word << 32) // words) << 32


def _filter(fingerprints: Words, words: int, low: int, high: int) -> Words:
    """The words `low` .. `high - 1` of a filter that has so many; these are all the fingerprints that belong there."""
    made = numpy.zeros(high - low, numpy.uint64)
    if len(fingerprints):
        word = (((fingerprints >> _HALF) * numpy.uint64(words)) >> _HALF) - numpy.uint64(low)
        starts = numpy.flatnonzero(numpy.concatenate(([True], word[1:] != word[:-1])))
        made[word[starts]] = numpy.bitwise_or.reduceat(_masks(fingerprints), starts)
    return made


def _mask(fingerprint: int) -> int:
    return (
        1 << (fingerprint & 63)
        | 1 << (fingerprint >> 6 & 63)
        | 1 << (fingerprint >> 12 & 63)
        | 1 << (fingerprint >> 18 & 63)
    )


def _masks(fingerprints: Words) -> Words:
    masks = numpy.zeros(len(fingerprints), numpy.uint64)
    for bit in _BITS:
        masks |= _ONE << ((fingerprints >> numpy.uint64(bit)) & _BIT_MASK)
    return masks
