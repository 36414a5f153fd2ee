"""The journal: what is in it is on disk, comes into the store once, and nothing else does."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.catch_up import catch_up
from storage.errors import StoreDamaged, StoreError
from storage.journal import JOURNAL_BYTES, JOURNAL_DELIVERIES_BYTES_MAX, Journal, read_journal
from storage.model import Append, Fate, Group
from storage.reader import Reader
from storage.singles import deliveries
from storage.verify import verify
from tests.storing import delivery, filled, numbered, opened, singles

THREE = [
    Append(delivery(1, ["a", "b", None], body=b"[1,2,3]"), 2, Fate.DROPPED),
    Append(singles(4, ["c", None], bodies=[b"{}", b"[]"]), 2, Fate.DEFERRED),
    Append(delivery(6, ["d"], source_id="other"), 0, Fate.DEFERRED),
]


def journaled(path: Path) -> list[tuple[int, int, list[Append]]]:
    return [(each.first, each.end, each.appends()) for each in read_journal(path)]


def numbers(path: Path) -> list[tuple[int, int]]:
    return [(each.first, each.end) for each in read_journal(path)]


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    """Record by record; deliveries that came together are by themselves."""
    journal = Journal(tmp_path)
    assert journal.append(THREE)
    assert journal.append([numbered(7, 2)])
    journal.close()
    alone = [Append(stored, 1, Fate.DEFERRED) for stored in deliveries(singles(4, ["c", None], bodies=[b"{}", b"[]"]))]
    (first, end, found), second = journaled(tmp_path)
    assert (first, end) == (1, 7)
    assert [(each.stored.first, each.stored.id, each.admitted, each.rest) for each in found] == [  # type: ignore[union-attr]
        (each.stored.first, each.stored.id, each.admitted, each.rest)  # type: ignore[union-attr]
        for each in (THREE[0], *alone, THREE[2])
    ]
    assert [each.stored.body for each in found] == [b"[1,2,3]", b"{}", b"[]", b"{}"]  # type: ignore[union-attr]
    assert second[:2] == (7, 9)


def test_append_returns_after_fdatasync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole record was written before, so it is on disk."""
    journal = Journal(tmp_path)
    seen: list[list[tuple[int, int]]] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: seen.append(numbers(tmp_path)))
    assert journal.append([numbered(1, 2)])
    assert seen == [[(1, 3)]]


def test_the_store_gets_what_only_the_journal_has(tmp_path: Path) -> None:
    """Once, as it was decided: fates, totals and bodies."""
    filled(tmp_path, [])
    journal = Journal(tmp_path)
    assert journal.append(THREE[:1])
    assert journal.append([Append(delivery(4, ["c"]), 1, Fate.DEFERRED)])
    journal.close()
    for _ in range(2):
        with opened(tmp_path) as (store, writer):
            assert writer.next_number == 5
            totals = writer.totals["demo"]
            assert (totals.received, totals.dropped, totals.pending) == (4, 1, 3)
            found = Reader(store).delivery(THREE[0].stored.id)  # type: ignore[union-attr]
            assert found is not None
    assert verify(tmp_path).problems == []


def test_what_is_in_both_is_there_once(tmp_path: Path) -> None:
    """The transaction that follows the journal is no second acceptance."""
    with opened(tmp_path) as (_, writer):
        journal = Journal(tmp_path)
        for first in (1, 3, 5):
            assert journal.append([numbered(first, 2)])
        writer.write(Group([numbered(1, 2), numbered(3, 2)]))
        journal.close()
    with opened(tmp_path) as (_, writer):
        assert (writer.next_number, writer.totals["demo"].received) == (7, 6)


def test_rewound(tmp_path: Path) -> None:
    """What stands behind the newest record is from before, and ends the journal."""
    journal = Journal(tmp_path)
    for first in (1, 2, 3):
        assert journal.append([numbered(first, 1)])
    journal.rewind()
    assert journal.append([numbered(4, 1)])
    assert numbers(tmp_path) == [(4, 5)]


def test_made_anew_it_is_empty(tmp_path: Path) -> None:
    """Who opens a store to write has what was in it; its blocks are there already."""
    Journal(tmp_path).append([numbered(1, 1)])
    Journal(tmp_path)
    assert numbers(tmp_path) == []
    found = (tmp_path / "journal").stat()
    assert (found.st_size, found.st_mode & 0o777) == (JOURNAL_BYTES, 0o600)
    assert found.st_blocks * 512 >= JOURNAL_BYTES


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, at: data[:at],
        lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
        lambda data, at: data[:at] + bytes(len(data) - at),
    ],
    ids=["cut", "one bit", "zeros"],
)
def test_damage_ends_it(tmp_path: Path, damage: Callable[[bytes, int], bytes]) -> None:
    """Whatever byte of the second record is wrong: the first is there, and nothing else is."""
    journal = Journal(tmp_path)
    journal.append([numbered(1, 1)])
    data = (tmp_path / "journal").read_bytes()
    length = len(data.rstrip(b"\0"))
    journal.append([numbered(2, 1)])
    data = (tmp_path / "journal").read_bytes()
    for at in range(length, len(data.rstrip(b"\0"))):
        (tmp_path / "journal").write_bytes(damage(data, at))
        assert numbers(tmp_path) == [(1, 2)], at


def test_without_one_there_is_nothing(tmp_path: Path) -> None:
    """A store of before, or a copy of `data.mdb` alone."""
    assert numbers(tmp_path) == []
    filled(tmp_path, [Group([numbered(1, 1)])])
    assert catch_up(tmp_path) == 0


def test_a_journal_of_another_store_is_refused(tmp_path: Path) -> None:
    """Events are missing in between: that is said, and what to do, before anything is numbered anew."""
    filled(tmp_path, [Group([numbered(1, 1)])])
    Journal(tmp_path).append([numbered(5, 1)])
    with (
        pytest.raises(StoreDamaged, match=r"goes on at event 5.*before event 2.*move the file `journal` away"),
        opened(tmp_path),
    ):
        pass
    assert [problem for problem in verify(tmp_path).problems if "move the file `journal` away" in problem]
    (tmp_path / "journal").unlink()
    with opened(tmp_path) as (_, writer):
        assert writer.next_number == 2


def test_no_room(tmp_path: Path) -> None:
    """It takes what fits, whole."""
    journal = Journal(tmp_path, 2000)
    taken = 0
    while journal.append([numbered(taken + 1, 1, body=b"x" * 100)]):
        taken += 1
    assert len(numbers(tmp_path)) == taken > 3
    assert journal.error is None
    assert not journal.has_room(2000)
    journal.rewind()
    assert journal.append([numbered(taken + 1, 1)])


def test_large_bodies_are_not_for_it() -> None:
    """They would be written twice for nothing."""
    assert JOURNAL_DELIVERIES_BYTES_MAX < JOURNAL_BYTES / 8


@pytest.mark.parametrize("name", ["pwrite", "fdatasync"])
def test_a_disk_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What was not confirmed is not there after a start, and nothing more is taken until then."""
    journal = Journal(tmp_path)
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
    assert not journal.has_room(1)
    assert numbers(tmp_path) == [(1, 2)]


def test_a_journal_that_cannot_be_made(tmp_path: Path) -> None:
    """There is none, and the reason."""
    (tmp_path / "journal").mkdir()
    journal = Journal(tmp_path)
    assert isinstance(journal.error, OSError)
    assert not journal.append([numbered(1, 1)])
    with pytest.raises(StoreError, match="journal"):
        list(read_journal(tmp_path))


def test_catch_up_of_a_stopped_store(tmp_path: Path) -> None:
    """Who only reads finds what was acknowledged."""
    filled(tmp_path, [Group([numbered(1, 1)])])
    Journal(tmp_path).append([numbered(2, 3)])
    assert catch_up(tmp_path) == 0
    with opened(tmp_path) as (_, writer):
        assert writer.next_number == 5


def test_catch_up_beside_a_writer_that_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for ever, and says how many events are not shown."""
    monkeypatch.setattr("storage.catch_up.CATCH_UP_SECONDS", 0.02)
    filled(tmp_path, [Group([numbered(1, 1)])])
    Journal(tmp_path).append([numbered(2, 3)])
    monkeypatch.setattr("storage.catch_up.Writer", lambda store: None)
    assert catch_up(tmp_path) == 3
