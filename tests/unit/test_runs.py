"""storage/dedup/runs.py: whatever is merged, everything is found again, and the filter keeps nearly all else away."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.dedup import runs as module
from storage.dedup.runs import Entries, Query, Run, SmallQuery, Words, build, filter_words, find, merge, sort

ENDS = [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 2**32, 2**64 - 1]
fingerprints = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from(ENDS), st.integers(2**64 - 100, 2**64 - 1))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_ENTRIES", 8)


def words(values: list[int]) -> Words:
    return numpy.array(values, numpy.uint64)


def entries_of(parts: list[list[int]]) -> list[Entries]:
    """Entries of these fingerprints; numbers say in which order they were given."""
    found, number = [], 0
    for part in parts:
        found.append(sort(words(part), numpy.arange(number, number + len(part), dtype=numpy.uint64)))
        number += len(part)
    return found


def found_in(made: Run, asked: list[int], *, few: bool) -> set[tuple[int, int]]:
    wanted = SmallQuery(words(asked)) if few else Query(words(asked))
    passing, positions = wanted.passing(made)
    return set(find(made, passing, positions)) if len(passing) else set()


@given(st.lists(st.lists(fingerprints, max_size=40), min_size=1, max_size=5), st.lists(fingerprints, max_size=20))
def test_everything_merged_is_found(parts: list[list[int]], others: list[int]) -> None:
    """Every entry of every part is found by its fingerprint, one by one and together, and nothing else is."""
    entries = [value for part in parts for value in part]
    made = build(entries_of(parts), 0, 0)
    assert made.entries.fingerprints.tolist() == sorted(entries)
    asked = [*dict.fromkeys(entries), *others]
    expected = {
        (at, number) for at, value in enumerate(asked) for number, there in enumerate(entries) if there == value
    }
    if entries:
        assert found_in(made, asked, few=True) == found_in(made, asked, few=False) == expected


@given(st.lists(st.lists(fingerprints, max_size=60), min_size=1, max_size=4))
def test_slices_follow_one_another(parts: list[list[int]]) -> None:
    """The slices of a merge hold every entry and every word of the filter once, in order, without a gap."""
    place = word = 0
    for each in merge(entries_of(parts)):
        assert (each.place, each.word) == (place, word)
        place, word = place + len(each.entries.fingerprints), word + len(each.filter)
    count = sum(map(len, parts))
    assert (place, word) == (count, filter_words(count))


def test_the_filter_keeps_others_away() -> None:
    """Of fingerprints that are not there fewer than 1 in 100 passes."""
    rng = numpy.random.default_rng(1)
    there, others = rng.integers(0, 2**64, (2, 20000), numpy.uint64)
    made = build([sort(there, there)], 0, 0)
    assert len(Query(others).passing(made)[0]) < 200
