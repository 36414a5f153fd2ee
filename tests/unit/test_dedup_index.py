"""storage/dedup/index.py: exact whatever is sealed or merged, kept for the window, bounded."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.codec.records import split_digests
from storage.dedup import index as module
from storage.dedup.index import DedupIndex

WINDOW_MS = 800
SPAN_MS = WINDOW_MS // module.SPANS


def digests(numbers: Sequence[int]) -> bytes:
    return b"".join(hashlib.blake2b(str(number).encode(), digest_size=16).digest() for number in numbers)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEAL_EVENTS", 16)


def known(index: DedupIndex, numbers: Sequence[int]) -> set[int]:
    """Which of these the index knows, with candidates confirmed as a reader would."""
    asked = digests(numbers)
    probe = index.probe(split_digests(asked))
    found = {numbers[position]: number for position, number in probe.known.items()}
    for position, number in probe.candidates():
        if digests([number]) == asked[position * 16 : position * 16 + 16]:
            found[numbers[position]] = number
    assert all(asked_for == number for asked_for, number in found.items())
    return set(found)


def merged(index: DedupIndex) -> None:
    while job := index.merge_job():
        job.run()
        index.install(job)


@given(st.lists(st.lists(st.integers(0, 200), max_size=40), max_size=12), st.integers(1, 4))
def test_exact_whatever_is_sealed(batches: list[list[int]], every: int) -> None:
    """After any additions and merges the index knows what was added, and nothing else."""
    index = DedupIndex(WINDOW_MS)
    added: set[int] = set()
    for turn, batch in enumerate(batches):
        index.add(split_digests(digests(batch)), batch, 0)
        added |= set(batch)
        if turn % every == 0:
            merged(index)
        assert known(index, range(201)) == added


def test_the_index_serves_while_a_job_runs() -> None:
    """Between merge_job and install everything is known, what is added meanwhile too, and no second job is given."""
    index = DedupIndex(WINDOW_MS)
    index.add(split_digests(digests(range(20))), range(20), 0)
    job = index.merge_job()
    assert job is not None
    index.add(split_digests(digests(range(20, 60))), range(20, 60), 0)
    assert known(index, range(70)) == set(range(60))
    assert index.merge_job() is None
    job.run()
    assert known(index, range(70)) == set(range(60))
    index.install(job)
    assert known(index, range(70)) == set(range(60))
    assert index.merge_job() is not None
    assert len(index) == 60


@pytest.mark.parametrize("count", [1, module.SMALL_QUERY_MAX, module.SMALL_QUERY_MAX + 1, 300])
def test_few_and_many_are_looked_up_alike(count: int) -> None:
    """Whether ids are asked for one by one or together, each that was sealed is a candidate, and hardly another."""
    index = DedupIndex(WINDOW_MS)
    index.add(split_digests(digests(range(300))), range(300), 0)
    merged(index)
    assert known(index, range(300 - count, 300)) == set(range(300 - count, 300))
    assert known(index, range(300, 300 + count)) == set()


def test_a_job_is_installed_once_it_ran() -> None:
    """Installing a job that did not run, or again, is our bug."""
    index = DedupIndex(WINDOW_MS)
    index.add(split_digests(digests(range(20))), range(20), 0)
    job = index.merge_job()
    assert job is not None
    with pytest.raises(ValueError):
        index.install(job)
    job.run()
    index.install(job)
    with pytest.raises(ValueError):
        index.install(job)


def test_an_entry_is_kept_for_the_window() -> None:
    """An entry is known for the whole window, and gone an eighth of it later."""
    index = DedupIndex(WINDOW_MS)
    for at_ms in range(5000):
        index.add(split_digests(digests([at_ms])), [at_ms], at_ms)
        merged(index)
        index.expire(at_ms)
        assert len(index) <= WINDOW_MS + 2 * SPAN_MS + 2
        if at_ms % 50 == 0:
            inside = range(max(at_ms - WINDOW_MS, 0), at_ms + 1)
            assert known(index, inside) == set(inside)
    assert known(index, range(5000 - WINDOW_MS - 2 * SPAN_MS - 2)) == set()


def test_merging_keeps_runs_few() -> None:
    """Within one span merging keeps the number of runs logarithmic."""
    index = DedupIndex(WINDOW_MS)
    for turn in range(200):
        numbers = range(turn * 16, turn * 16 + 16)
        index.add(split_digests(digests(numbers)), numbers, 0)
        merged(index)
        assert len(index.probe([]).known) == 0
        assert len(index._runs) <= 6
    assert known(index, range(3300)) == set(range(3200))


def test_a_run_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """RUN_EVENTS_MAX bounds what one merge copies."""
    monkeypatch.setattr(module, "RUN_EVENTS_MAX", 64)
    index = DedupIndex(WINDOW_MS)
    for turn in range(40):
        numbers = range(turn * 16, turn * 16 + 16)
        index.add(split_digests(digests(numbers)), numbers, 0)
        merged(index)
    assert max(map(len, index._runs)) <= 64
    assert known(index, range(700)) == set(range(640))


def test_equal_fingerprints_are_all_candidates() -> None:
    """Ids that share the first half of their digest are told apart, in one run and across two."""
    index = DedupIndex(WINDOW_MS)
    half = digests([1])[:8]
    alike = [half + bytes([tail]) * 8 for tail in range(40)]
    for turn in range(0, 40, 20):
        index.add(alike[turn : turn + 20], range(turn, turn + 20), 0)
        merged(index)
    probe = index.probe([alike[7]])
    assert sorted(number for _, number in probe.unconfirmed) == list(range(40))
    assert {position for position, _ in probe.unconfirmed} == {0}


def test_a_rebuilt_index_knows_the_same() -> None:
    """From chunks as a reader gives them the index knows everything inside the window."""

    def chunks() -> Iterator[tuple[bytes, "numpy.typing.NDArray[numpy.uint64]", int, int]]:
        for first in range(0, 2000, 100):
            numbers = range(first, first + 100)
            yield digests(numbers), numpy.array(numbers, numpy.uint64), first, first + 99

    index = DedupIndex(WINDOW_MS)
    index.rebuild(chunks(), 2000)
    assert known(index, range(1200, 2100)) == set(range(1200, 2000))
    assert known(index, range(1000)) == set()
    with pytest.raises(ValueError):
        index.rebuild(chunks(), 2000)


def test_memory_is_eighteen_bytes_an_entry_once_sealed() -> None:
    """A sealed entry takes 18 bytes, and memory_bytes counts them."""
    index = DedupIndex(WINDOW_MS)
    index.add(split_digests(digests(range(5000))), range(5000), 0)
    before = index.memory_bytes
    merged(index)
    assert 5000 * 18 <= index.memory_bytes < 5000 * 18 + 1000 < before


def test_a_hit_beyond_the_window_is_uncertain() -> None:
    """A hit is certain while all that was added with it is within the window of what is asked for; then it is a
    candidate, as one in a sorted run."""
    index = DedupIndex(WINDOW_MS)
    for number, at_ms in ((1, 100), (2, 150)):
        index.add(split_digests(digests([number])), [number], at_ms)
    asked = split_digests(digests([1, 2]))
    assert index.probe(asked, 100 + WINDOW_MS - 1).known == {0: 1, 1: 2}
    probe = index.probe(asked, 100 + WINDOW_MS)
    assert (probe.known, probe.certain, sorted(probe.candidates())) == ({}, False, [(0, 1), (1, 2)])
    assert not index.is_due(150 + WINDOW_MS - 1)
    assert index.is_due(150 + WINDOW_MS)
