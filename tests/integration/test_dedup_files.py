"""storage/dedup/spill.py and the index: what does not fit into memory is in files that nobody else can touch."""

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
import pytest

from storage.codec.records import split_digests
from storage.dedup import index as module
from storage.dedup import runs as runs_module
from storage.dedup import spill
from storage.dedup.index import DedupIndex
from storage.dedup.runs import Entries, Words
from tests.support.client import item
from tests.support.config import source
from tests.support.ledger import pending, statuses
from tests.support.server import Children
from tests.support.waiting import eventually

WINDOW_MS = 800
MEMORY_IDS_MAX = 64


def digests(numbers: Sequence[int]) -> bytes:
    return b"".join(hashlib.blake2b(str(number).encode(), digest_size=16).digest() for number in numbers)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEAL_EVENTS", 16)
    monkeypatch.setattr(runs_module, "SLICE_ENTRIES", 64)
    monkeypatch.setattr(spill, "STEP_BYTES", 1024)


@pytest.fixture
def index(tmp_path: Path) -> DedupIndex:
    return DedupIndex(WINDOW_MS, MEMORY_IDS_MAX, tmp_path)


def known(index: DedupIndex, numbers: Sequence[int]) -> set[int]:
    """Which of these the index knows, with candidates confirmed as a reader would."""
    asked = digests(numbers)
    probe = index.probe(split_digests(asked))
    found = set(probe.known.values())
    for position, number in probe.candidates():
        if digests([number]) == asked[position * 16 : position * 16 + 16]:
            found.add(number)
    return found


def add(index: DedupIndex, numbers: Sequence[int], at_ms: int = 0) -> None:
    """Add these, 16 at a time, and do what is due after each time."""
    for start in range(0, len(numbers), 16):
        part = numbers[start : start + 16]
        index.add(split_digests(digests(part)), part, at_ms)
        while job := index.merge_job():
            job.run()
            index.install(job)


def chunks(count: int, newest_ms: int = 0) -> Iterator[tuple[bytes, Words, int, int]]:
    """What a reader gives of a store: events one a millisecond, or all at once."""
    for first in range(0, count, 50):
        numbers = range(first, first + 50)
        yield digests(numbers), numpy.array(numbers, numpy.uint64), min(first, newest_ms), min(first + 49, newest_ms)


def test_memory_has_a_limit(index: DedupIndex) -> None:
    """Beyond `memory_ids_max` the oldest entries are in files, everything is known, and memory stays the same."""
    add(index, range(320))
    before = index.memory_bytes
    add(index, range(320, 3200))
    assert index.mapped_ids >= 3200 - MEMORY_IDS_MAX - module.SEAL_EVENTS
    assert index.memory_bytes <= before + module.SEAL_EVENTS * 200
    assert len(index) == 3200
    assert known(index, range(3300)) == set(range(3200))


def test_mapped_runs_are_merged(index: DedupIndex) -> None:
    """Mapped runs of one span are merged with one another."""
    add(index, range(3200))
    assert len(index._mapped) <= 6


def test_all_in_memory_where_it_fits(tmp_path: Path) -> None:
    """Up to `memory_ids_max` entries no file is made."""
    index = DedupIndex(WINDOW_MS, 10_000, tmp_path)
    add(index, range(3200))
    assert index.mapped_ids == 0


def test_a_probe_does_not_read_files(index: DedupIndex) -> None:
    """`probe` leaves mapped entries to `candidates`, which may run later, when their run has left the index."""
    add(index, range(640))
    probe = index.probe(split_digests(digests(range(16))))
    assert probe.unconfirmed == []
    assert not probe.certain
    index.expire(WINDOW_MS + 1)
    assert len(index) == 0
    assert set(probe.candidates()) >= {(number, number) for number in range(16)}


def test_a_file_is_searched_as_memory_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file the guide leads to the same places as a search of everything, equal fingerprints included."""
    monkeypatch.setattr(runs_module, "GUIDE_STEP", 8)
    monkeypatch.setattr(spill, "GUIDE_STEP", 8)
    values = numpy.random.default_rng(1).integers(0, 100, 300).astype(numpy.uint64) << numpy.uint64(57)
    run = runs_module.sort(values, numpy.arange(300, dtype=numpy.uint64))
    asked = numpy.concatenate([values, values + numpy.uint64(1), numpy.array([0, 2**64 - 1], numpy.uint64)])
    for count in (1, 7, 8, 9, 300):
        part = Entries(run.fingerprints[:count], run.numbers[:count])
        made = spill.write([part], 0, 0, tmp_path)
        assert made.mapped
        assert made.places(asked).tolist() == part.fingerprints.searchsorted(asked).tolist()


def test_a_short_window_makes_few_files(tmp_path: Path) -> None:
    """Where ids stay for long after a short window, files are as few as if all of it were the window."""
    longer_ms = 4 * WINDOW_MS
    index = DedupIndex(WINDOW_MS, MEMORY_IDS_MAX, tmp_path, longer_ms=longer_ms)
    for at_ms in range(0, longer_ms, 50):
        add(index, range(at_ms, at_ms + 16), at_ms)
    assert index.mapped_ids
    assert len(open_index_files(tmp_path)) <= 2 * module.SPANS


def test_files_leave_with_their_window(index: DedupIndex, tmp_path: Path) -> None:
    """A mapped run is dropped whole, and its file with it, when its newest entry leaves the window."""
    for at_ms in range(0, 3000, 4):
        add(index, range(at_ms, at_ms + 4), at_ms)
        index.expire(at_ms)
        assert len(index) <= WINDOW_MS + 2 * WINDOW_MS // module.SPANS + 8
    assert index.mapped_ids
    assert open_index_files(tmp_path)
    inside = range(3000 - WINDOW_MS, 3000)
    assert known(index, inside) == set(inside)
    assert known(index, range(1900)) == set()
    index.expire(10_000)
    assert index.mapped_ids == len(index) == 0
    assert open_index_files(tmp_path) == []


def open_index_files(directory: Path) -> list[str]:
    """What this process has mapped of files of the index in this directory."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if str(directory) in line]


def test_nothing_is_left_in_the_directory(index: DedupIndex, tmp_path: Path) -> None:
    """The files have no names: nobody can cut or overwrite them, and a crash leaves none behind."""
    add(index, range(640))
    assert index.mapped_ids
    assert list(tmp_path.iterdir()) == []


def test_leftover_files_are_removed_unread(index: DedupIndex, tmp_path: Path) -> None:
    """A file that a crash left where files need a name, whatever it holds, is removed at start and never read."""
    (tmp_path / "index-abcdefgh").write_bytes(b"garbage" * 1000)
    (tmp_path / "data.mdb").write_bytes(b"the store")
    index.rebuild(chunks(500), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["data.mdb"]
    assert known(index, range(600)) == set(range(500))


def test_a_rebuild_keeps_to_the_limit(index: DedupIndex) -> None:
    """While it goes over the store a rebuild moves what is too much into files."""
    index.rebuild(chunks(3000), 0)
    assert index.mapped_ids >= 3000 - MEMORY_IDS_MAX
    assert known(index, range(3100)) == set(range(3000))


def test_a_rebuild_forgets_what_left_the_window(index: DedupIndex) -> None:
    """Mapped or not, what is older than the window is not kept."""
    index.rebuild(chunks(3000, 3000), 3000)
    assert known(index, range(2000)) == set()
    assert known(index, range(3000 - WINDOW_MS, 3000)) == set(range(3000 - WINDOW_MS, 3000))


def test_a_full_disk_leaves_it_in_memory(index: DedupIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk has no room, all stays in memory and exact, the reason is told; later it is tried again."""
    monkeypatch.setattr(spill, "DISK_RESERVE_BYTES", 1 << 62)
    add(index, range(640))
    assert index.mapped_ids == 0
    assert index.spill_error is not None
    assert index.spill_error.errno == errno.ENOSPC
    assert known(index, range(700)) == set(range(640))
    monkeypatch.setattr(spill, "DISK_RESERVE_BYTES", 0)
    add(index, range(640, 656))
    assert index.spill_error is None
    assert index.mapped_ids >= 656 - MEMORY_IDS_MAX - module.SEAL_EVENTS
    assert known(index, range(700)) == set(range(656))


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fdatasync"])
def test_a_failing_disk_leaves_it_in_memory(index: DedupIndex, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Whichever call fails, what was to be moved stays where it was, and nothing that was written is used."""

    def fails(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fails)
    add(index, range(640))
    assert index.mapped_ids == 0
    assert index.spill_error is not None
    assert index.spill_error.errno == errno.EIO
    assert known(index, range(700)) == set(range(640))


def test_short_writes_are_completed(index: DedupIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes a few bytes at a time gets them all."""
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, at: whole(file, content[:100], at))
    add(index, range(640))
    assert index.mapped_ids
    assert known(index, range(700)) == set(range(640))


def test_an_unwritable_directory_is_not_a_failure(tmp_path: Path) -> None:
    """A missing directory is told as any other trouble with the disk."""
    index = DedupIndex(WINDOW_MS, MEMORY_IDS_MAX, tmp_path / "gone")
    add(index, range(640))
    assert index.spill_error is not None
    assert known(index, range(700)) == set(range(640))


def test_a_server_knows_ids_that_are_in_files(children: Children) -> None:
    """With no room in memory the ids of an earlier run are in files, and an id that comes again is a duplicate."""
    child = children("[dedup]\nmemory_ids_max = 1\n" + source("archive"))
    child.start()
    assert child.post("archive", [item(str(number)) for number in range(100)]).status == 200
    eventually(lambda: pending(child, "archive") == 0)
    child.kill()
    child.start()
    eventually(lambda: len(child.lines_of("index ready")) == 2)
    ready = child.lines_of("index ready")[-1]
    assert (ready["known_ids"], ready["in_files"]) == (100, 100)
    assert child.post("archive", [item(str(number)) for number in range(99, 101)]).status == 200
    eventually(lambda: pending(child, "archive") == 0)
    assert child.stop() == 0
    assert [statuses(child, "archive", each) for each in ("99", "100")] == [["processed", "duplicate"], ["processed"]]
