"""The journal: what is in it is on disk, comes into the store once, and nothing else does."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.check.verify import verify
from storage.errors import StoreDamaged, StoreError
from storage.journal.journal import EVENT_BYTES, JOURNAL_DELIVERIES_BYTES_MAX, RESERVE_SHARE, Journal
from storage.journal.records import JOURNAL_BYTES, read_journal
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.read.reader import Reader
from storage.statuses import EventStatus
from storage.write.recovery import recover
from storage.write.writer import Writer
from tests.support.store import STORE_MS, delivery, filled, numbered, opened, singles

ROOT = Path(__file__).parents[2]

THREE = [
    Append(delivery(1, ["a", "b", None], body=b"[1,2,3]"), 2, EventStatus.DROPPED, STORE_MS),
    Append(singles(4, ["c", None], bodies=[b"{}", b"[]"]), 2, EventStatus.DEFERRED),
    Append(delivery(6, ["d"], source_id="other"), 0, EventStatus.DEFERRED),
]


@contextmanager
def journaling(path: Path) -> Iterator[tuple[Journal, Store, Writer]]:
    with opened(path) as (store, writer):
        journal = Journal(store)
        try:
            yield journal, store, writer
        finally:
            journal.close()


def left(path: Path, *groups: list[Append]) -> None:
    """A journal that has these, one record each, and the store does not."""
    with journaling(path) as (journal, _, _):
        for appends in groups:
            assert journal.append(appends)


def numbers(store: Store, number: int = 1) -> list[tuple[int, int]]:
    return [(each.first, each.end) for each in read_journal(store, number)]


def said(append: Append) -> tuple[object, ...]:
    numbered = append.numbered
    bodies = list(numbered.deliveries.bodies)
    return (numbered.first, numbered.delivery_ids(), bodies, append.admitted, append.rest, append.store_ms)


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    """Record by record, and as it went in together."""
    with journaling(tmp_path) as (journal, store, _):
        assert journal.append(THREE)
        assert journal.append([numbered(7, 2)])
        first, second = read_journal(store, 1)
    assert (first.first, first.end, second.first, second.end) == (1, 7, 7, 9)
    assert [said(each) for each in first.appends()] == [said(each) for each in THREE]


def test_append_returns_after_fdatasync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole record was written before, so it is on disk."""
    with journaling(tmp_path) as (journal, store, _):
        seen: list[list[tuple[int, int]]] = []
        monkeypatch.setattr(os, "fdatasync", lambda file: seen.append(numbers(store)))
        assert journal.append([numbered(1, 2)])
        assert seen == [[(1, 3)]]


def test_the_store_gets_what_only_the_journal_has(tmp_path: Path) -> None:
    """Once, as it was decided: statuses, totals and bodies."""
    left(tmp_path, THREE[:1], [Append(delivery(4, ["c"]), 1, EventStatus.DEFERRED)])
    for recovered in (4, 0):
        with opened(tmp_path) as (store, writer):
            assert (writer.next_number, writer.recovered) == (5, recovered)
            totals = writer.totals["demo"]
            assert (totals.received, totals.dropped, totals.pending) == (4, 1, 3)
            assert Reader(store).delivery(*delivery(1, ["a"]).delivery_ids()) is not None
    assert verify(tmp_path).problems == []


def test_what_is_in_both_is_there_once(tmp_path: Path) -> None:
    """The transaction that follows the journal is no second acceptance."""
    with journaling(tmp_path) as (journal, store, writer):
        for first in (1, 3, 5):
            assert journal.append([numbered(first, 2)])
        writer.write(Group([numbered(1, 2), numbered(3, 2)]))
        assert numbers(store, writer.next_number) == [(5, 7)]
    with opened(tmp_path) as (_, writer):
        assert (writer.next_number, writer.totals["demo"].received) == (7, 6)


def test_old_records_end_a_rewound_journal(tmp_path: Path) -> None:
    """What stands behind the newest record is from before, and ends the journal."""
    with journaling(tmp_path) as (journal, store, _):
        for first in (1, 2, 3):
            assert journal.append([numbered(first, 1)])
        journal.rewind()
        assert journal.append([numbered(4, 1)])
        assert numbers(store) == [(4, 5)]


def test_made_anew_it_is_empty(tmp_path: Path) -> None:
    """Who opens a store to write has what was in it; its blocks are there already; nobody else can read it."""
    with journaling(tmp_path) as (journal, store, _):
        journal.append([numbered(1, 1)])
        (tmp_path / "journal").chmod(0o644)
        Journal(store).close()
        assert numbers(store) == []
    found = (tmp_path / "journal").stat()
    assert (found.st_size, found.st_mode & 0o777) == (JOURNAL_BYTES, 0o600)
    assert found.st_blocks * 512 >= JOURNAL_BYTES


def test_its_name_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is flushed once the file is in it."""
    with opened(tmp_path) as (store, _):
        flushed: list[bool] = []

        def flush(file: int) -> None:
            if stat.S_ISDIR(os.fstat(file).st_mode):
                flushed.append((tmp_path / "journal").exists())

        monkeypatch.setattr(os, "fsync", flush)
        Journal(store).close()
        assert flushed == [True]


def test_a_cleared_journal_takes_nothing_more(tmp_path: Path) -> None:
    """After a clean end there is nothing, so that a copy of the store can be put back; and nothing more is taken."""
    with journaling(tmp_path) as (journal, store, _):
        journal.append([numbered(1, 1)])
        journal.clear()
        assert numbers(store) == []
        assert not journal.append([numbered(2, 1)])


def test_records_of_another_run_do_not_follow(tmp_path: Path) -> None:
    """A store that was put back gives numbers of its former life again: stale records of that are none of its own."""
    with journaling(tmp_path) as (journal, store, _):
        journal.append([numbered(1, 1)])
        journal.append([numbered(2, 1)])
        again = Journal(store)
        again.append([numbered(1, 1)])
        again.close()
        assert numbers(store) == [(1, 2)]


def test_a_journal_of_another_store_is_refused(tmp_path: Path) -> None:
    """Whatever its numbers are: nothing of it becomes this store's."""
    left(tmp_path / "other", [numbered(1, 1)], [numbered(2, 1)])
    filled(tmp_path / "own", [Group([numbered(1, 1)])])
    (tmp_path / "other" / "journal").rename(tmp_path / "own" / "journal")
    with pytest.raises(StoreDamaged, match="belongs to another store"), opened(tmp_path / "own"):
        pass
    with pytest.raises(StoreDamaged, match="belongs to another store"):
        recover(tmp_path / "own")
    assert any("belongs to another store" in problem for problem in verify(tmp_path / "own").problems)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, at: data[:at],
        lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        lambda data, at: data[:at] + bytes(len(data) - at),
    ],
    ids=["cut", "one bit", "zeros"],
)
def test_a_torn_record_ends_it(tmp_path: Path, damage: Callable[[bytes, int], bytes]) -> None:
    """Whatever byte of the last record is wrong: the first is there, and nothing else. Nobody was told of the last."""
    path = tmp_path / "journal"
    with journaling(tmp_path) as (journal, store, _):
        journal.append([numbered(1, 1)])
        length = len(path.read_bytes().rstrip(b"\0"))
        journal.append([numbered(2, 1)])
        data = path.read_bytes()
        for at in range(length, len(data.rstrip(b"\0"))):
            path.write_bytes(damage(data, at))
            assert numbers(store) == [(1, 2)], at


def test_a_torn_record_is_not_damage(tmp_path: Path) -> None:
    """A crash while the first record is written anew, as long as the one that stood there."""
    path = tmp_path / "journal"
    with journaling(tmp_path) as (journal, _, writer):
        for first in (1, 2, 3):
            assert journal.append([numbered(first, 1)])
        writer.write(Group([numbered(first, 1) for first in (1, 2, 3)]))
        journal.rewind()
        witness = (tmp_path / "writer.lock").read_bytes()
        assert journal.append([numbered(4, 1)])
        (tmp_path / "writer.lock").write_bytes(witness)  # it was never finished
        data = path.read_bytes()
        path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    with opened(tmp_path) as (_, writer):
        assert (writer.next_number, writer.recovered) == (4, 0)


@pytest.mark.parametrize("damaged", [0, 1])
def test_damage_before_a_whole_record_is_loud(tmp_path: Path, damaged: int) -> None:
    """It was acknowledged, since another one came after it."""
    left(tmp_path, [numbered(1, 1)], [numbered(2, 1)], [numbered(3, 1)])
    path = tmp_path / "journal"
    data = path.read_bytes()
    length = len(data.rstrip(b"\0")) // 3
    at = damaged * length + length // 2
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(StoreDamaged, match="what came between is missing"), opened(tmp_path):
        pass
    assert any("what came between is missing" in problem for problem in verify(tmp_path).problems)


def test_a_gap_is_refused(tmp_path: Path) -> None:
    """An older state of the store: that is said, and what to do, before anything is numbered anew."""
    with journaling(tmp_path) as (journal, _, writer):
        writer.write(Group([numbered(1, 1)]))
        journal.append([numbered(5, 1)])
    with (
        pytest.raises(StoreDamaged, match=r"goes on at event 5.*before event 2.*move `journal` and"),
        opened(tmp_path),
    ):
        pass
    for name in ("journal", "writer.lock"):
        (tmp_path / name).unlink()
    with opened(tmp_path) as (_, writer):
        assert writer.next_number == 2


def test_without_one_there_is_nothing(tmp_path: Path) -> None:
    """A copy of `data.mdb` alone."""
    filled(tmp_path, [Group([numbered(1, 1)])])
    assert recover(tmp_path) == 0


def test_it_takes_what_surely_has_room(tmp_path: Path) -> None:
    """Bodies as they came, however well they pack, and events: together a part of the reserve at most."""
    with opened(tmp_path, map_size_bytes=4 << 20) as (store, _):
        journal = Journal(store)
        assert journal.bytes_max == store.reserve_bytes // RESERVE_SHARE
        body, taken = b"x" * 10000, 0
        while journal.has_room(len(body), 1):
            assert journal.append([numbered(taken + 1, 1, body=body)])
            taken += 1
        assert taken == journal.bytes_max // (len(body) + EVENT_BYTES)
        journal.rewind()
        assert not journal.has_room(2, journal.bytes_max // EVENT_BYTES)
        assert journal.has_room(2, journal.bytes_max // EVENT_BYTES - 1)
        assert not journal.has_room(JOURNAL_DELIVERIES_BYTES_MAX + 1, 1)
        journal.close()


@pytest.mark.parametrize("name", ["pwrite", "fdatasync"])
def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What was not confirmed is not there after a start, and nothing more is taken until then."""
    with journaling(tmp_path) as (journal, store, _):
        assert journal.append([numbered(1, 1)])
        calls = 0
        real = getattr(os, name)

        def once(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise OSError(errno.EIO, "no")
            return real(*arguments)

        monkeypatch.setattr(os, name, once)
        assert not journal.append([numbered(2, 1)])
        assert journal.error is not None
        assert not journal.append([numbered(2, 1)])
        assert not journal.has_room(1, 1)
        assert numbers(store) == [(1, 2)]


def test_a_disk_without_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves to the store what room there is."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no")

    with opened(tmp_path) as (store, _):
        monkeypatch.setattr(os, "pwrite", full)
        journal = Journal(store)
        assert journal.error is not None
        assert (tmp_path / "journal").stat().st_size == 0


@pytest.mark.parametrize(
    "make",
    [
        Path.mkdir,
        lambda path: path.symlink_to("/dev/full"),
        lambda path: path.symlink_to(path.with_name("elsewhere")),
        os.mkfifo,
    ],
    ids=["directory", "symlink", "symlink to nothing", "pipe"],
)
def test_what_is_no_file_is_no_journal(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """It is not written to, and it is not taken for an empty one: it may stand for one that is somewhere else."""
    with opened(tmp_path) as (store, _):
        make(tmp_path / "journal")
        journal = Journal(store)
        assert isinstance(journal.error, OSError)
        assert not journal.append([numbered(1, 1)])
        with pytest.raises(StoreError, match="journal"):
            list(read_journal(store, 1))
    assert not (tmp_path / "elsewhere").exists()


def test_catch_up_of_a_stopped_store(tmp_path: Path) -> None:
    """Who only reads finds what was acknowledged."""
    left(tmp_path, [numbered(1, 1)], [numbered(2, 3)])
    assert recover(tmp_path) == 0
    with opened(tmp_path) as (_, writer):
        assert (writer.next_number, writer.recovered) == (5, 0)


def test_catch_up_beside_a_writer_that_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for ever, and says how many events are not shown."""
    monkeypatch.setattr("storage.write.recovery.RECOVERY_SECONDS", 0.02)
    left(tmp_path, [numbered(1, 3)])
    monkeypatch.setattr("storage.write.recovery.Writer", lambda store: None)
    assert recover(tmp_path) == 3


def test_recovery_of_a_cut_store_is_an_error(tmp_path: Path) -> None:
    """And no signal: commands had died of SIGBUS, without a word."""
    filled(tmp_path, [Group([numbered(1 + 300 * at, 300, body=b"x" * 5000)]) for at in range(20)])
    os.truncate(tmp_path / "data.mdb", 8192)
    code = f"from pathlib import Path; from storage.write.recovery import recover; recover(Path({str(tmp_path)!r}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (found.returncode, "StoreDamaged" in found.stderr, "its end is missing" in found.stderr) == (1, True, True)
