"""Sorted runs of the dedup index: entries that never change, behind a filter, in memory or in a mapped file.

A fingerprint is 8 bytes of a digest. The filter (a Bloom filter, each entry's bits within one word) answers most
misses with one memory access; its false positive rate is 1 in 190. Its words are in the order of the fingerprints, so
runs are merged slice by slice: whatever their size, the work space is one slice.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy
from numpy.typing import NDArray

Words = NDArray[numpy.uint64]
Places = NDArray[numpy.intp]
Hit = tuple[int, int]
"""A position in the query, and the number found for it."""

ENTRIES_A_WORD = 4
"""16 bits of filter an entry. 12 would double the false positives, each of which may cost reading a page."""
ENTRY_BYTES = 8 + 8 + 8 // ENTRIES_A_WORD
"""Fingerprint, number, filter."""
SLICE_ENTRIES = 1 << 17
"""Entries merged in one step: a few milliseconds."""
GUIDE_STEP = 512
"""Fingerprints in a page of a file."""
_BITS = (0, 6, 12, 18)
"""The shifts in a fingerprint that select its bits in a word. Its upper half selects the word."""
_NONE: tuple[Words, Places] = (numpy.empty(0, numpy.uint64), numpy.empty(0, numpy.intp))
_ONE, _BIT_MASK, _HALF = numpy.uint64(1), numpy.uint64(63), numpy.uint64(32)


class Entries(NamedTuple):
    """Fingerprints with the numbers of their events, sorted by fingerprint."""

    fingerprints: Words
    numbers: Words


class Run:
    """A sorted run, and when the oldest and the newest of its entries were processed, in ms. Immutable, compared by
    identity."""

    __slots__ = ("entries", "filter", "guide", "newest_ms", "oldest_ms", "words")

    def __init__(
        self, entries: Entries, words: Words, oldest_ms: int, newest_ms: int, *, guide: Words | None = None
    ) -> None:
        self.entries = entries
        self.filter = words
        self.words = words.data
        """The filter as a memoryview: reading one word is ten times as fast as from an array."""
        self.oldest_ms = oldest_ms
        self.newest_ms = newest_ms
        self.guide = guide
        """Of a mapped run: every GUIDE_STEP-th fingerprint. Reading its other entries may wait for the disk."""

    def __len__(self) -> int:
        return len(self.entries.fingerprints)

    @property
    def mapped(self) -> bool:
        """Whether the run is in a file."""
        return self.guide is not None

    def places(self, fingerprints: Words) -> Places:
        """Return, for each fingerprint, the index of the first entry that is not less."""
        if self.guide is None:
            return self.entries.fingerprints.searchsorted(fingerprints)
        return _places_in_pages(self.entries.fingerprints, self.guide, fingerprints)

    @property
    def nbytes(self) -> int:
        return self.entries.fingerprints.nbytes + self.entries.numbers.nbytes + self.filter.nbytes


class Slice(NamedTuple):
    """A part of a run being built: entries, their words of the filter, and where both belong."""

    place: int
    entries: Entries
    word: int
    filter: Words


class Query:
    """Fingerprints to look up, sorted, so that neighbours share the memory that they touch."""

    __slots__ = ("_high", "_masks", "fingerprints", "positions")

    def __init__(self, fingerprints: Words) -> None:
        self.positions = fingerprints.argsort()
        self.fingerprints = fingerprints[self.positions]
        self._high = self.fingerprints >> _HALF
        self._masks = _masks(self.fingerprints)

    def passing(self, run: Run) -> tuple[Words, Places]:
        """Return those that may be in this run: fingerprints and positions."""
        words = run.filter
        found = words.take(((self._high * numpy.uint64(len(words))) >> _HALF).astype(numpy.intp))
        places = numpy.flatnonzero((found & self._masks) == self._masks)
        return self.fingerprints[places], self.positions[places]


class SmallQuery:
    """The same for a handful: plain integers avoid the fixed cost per call of arrays."""

    __slots__ = ("_wanted",)

    def __init__(self, fingerprints: Words) -> None:
        self._wanted = [(value, _mask(value), value >> 32, at) for at, value in enumerate(fingerprints.tolist())]

    def passing(self, run: Run) -> tuple[Words, Places]:
        """Return those that may be in this run: fingerprints and positions."""
        words, count = run.words, len(run.words)
        found = [(value, at) for value, mask, high, at in self._wanted if words[(high * count) >> 32] & mask == mask]
        if not found:
            return _NONE
        return numpy.array([value for value, _ in found], numpy.uint64), numpy.array(
            [at for _, at in found], numpy.intp
        )


def find(run: Run, fingerprints: Words, positions: Places) -> list[Hit]:
    """Return every entry that has one of these fingerprints, as (position of the fingerprint, number)."""
    own, numbers = run.entries
    places = run.places(fingerprints)
    places[places == len(own)] = 0
    equal = numpy.flatnonzero(own.take(places) == fingerprints)
    places = places[equal]
    found = list(zip(positions[equal].tolist(), numbers.take(places).tolist(), strict=True))
    for at, place in zip(equal.tolist(), (places + 1).tolist(), strict=True):
        more = place
        while more < len(own) and own[more] == fingerprints[at]:
            found.append((int(positions[at]), int(numbers[more])))
            more += 1
    return found


def _places_in_pages(fingerprints: Words, guide: Words, wanted: Words) -> Places:
    """Do as searchsorted: a binary search for all at once, each within one page. (`take` lets other threads run while
    it waits for the disk; indexing with brackets does not.)"""
    page = guide.searchsorted(wanted)
    low = numpy.maximum((page - 1) * GUIDE_STEP + 1, 0)
    high = numpy.minimum(page * GUIDE_STEP, len(fingerprints))
    for _ in range(GUIDE_STEP.bit_length()):
        middle = (low + high) >> 1
        less = (fingerprints.take(middle, mode="clip") < wanted) & (low < high)
        low = numpy.where(less, middle + 1, low)
        high = numpy.where(less, high, middle)
    return low


def sort(fingerprints: Words, numbers: Words) -> Entries:
    order = fingerprints.argsort()
    return Entries(fingerprints[order], numbers[order])


def build(parts: Sequence[Entries], oldest_ms: int, newest_ms: int) -> Run:
    """Return a run in memory of all these entries."""
    count = sum(len(part.fingerprints) for part in parts)
    made = Entries(numpy.empty(count, numpy.uint64), numpy.empty(count, numpy.uint64))
    words = numpy.empty(filter_words(count), numpy.uint64)
    for piece in merge(parts):
        end = piece.place + len(piece.entries.fingerprints)
        made.fingerprints[piece.place : end] = piece.entries.fingerprints
        made.numbers[piece.place : end] = piece.entries.numbers
        words[piece.word : piece.word + len(piece.filter)] = piece.filter
    return Run(made, words, oldest_ms, newest_ms)


def filter_words(count: int) -> int:
    """Return how many words the filter of this many entries has."""
    return count // ENTRIES_A_WORD + 1


def merge(parts: Sequence[Entries]) -> Iterator[Slice]:
    """Yield all entries in order, slice by slice."""
    count = sum(len(part.fingerprints) for part in parts)
    words = filter_words(count)
    pieces = count // SLICE_ENTRIES + 1
    bounds = [words * piece // pieces for piece in range(pieces + 1)]
    firsts = numpy.array([_first_of_word(word, words) for word in bounds[1:-1]], numpy.uint64)
    ends = [[0, *part.fingerprints.searchsorted(firsts).tolist(), len(part.fingerprints)] for part in parts]
    place = 0
    for piece in range(pieces):
        merged = _merged([_cut(part, each[piece], each[piece + 1]) for part, each in zip(parts, ends, strict=True)])
        low, high = bounds[piece], bounds[piece + 1]
        yield Slice(place, merged, low, _filter(merged.fingerprints, words, low, high))
        place += len(merged.fingerprints)


def _cut(entries: Entries, start: int, stop: int) -> Entries:
    return Entries(entries.fingerprints[start:stop], entries.numbers[start:stop])


def _merged(parts: Sequence[Entries]) -> Entries:
    if len(parts) == 1:
        return parts[0]
    fingerprints = numpy.concatenate([part.fingerprints for part in parts])
    return sort(fingerprints, numpy.concatenate([part.numbers for part in parts]))


def _first_of_word(word: int, words: int) -> int:
    """Return the least fingerprint whose bits are in this word or a later one."""
    return -(-(word << 32) // words) << 32


def _filter(fingerprints: Words, words: int, low: int, high: int) -> Words:
    """Return the words `low` .. `high - 1` of a filter of `words`, from all the fingerprints that belong there."""
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
