"""The witness: a store that is whole in itself, and lacks what was acknowledged last, is not taken for a whole one."""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from storage.check.verify import verify
from storage.errors import StoreDamaged
from storage.journal.journal import Journal
from storage.lmdb_store.witness import NOTHING, Known, Reached, Witness, known
from storage.model import Group
from storage.statuses import EventStatus
from tests.support.store import filled, numbered, opened, outcome

TRANSACTION_AT = (144, 4096 + 144)
"""The offsets of the transactions' numbers in LMDB's two meta pages, of 4 KiB."""
IDENTITY = b"ABCDEFGH"


def with_older(store: Path, name: str, groups: Sequence[Group]) -> None:
    """Write these groups, then put back what the file was before: as a disk does that has lost its last writes."""
    before = (store / name).read_bytes()
    filled(store, groups)
    (store / name).write_bytes(before)


def meta_page_names_the_one_before(store: Path) -> None:
    """The page of LMDB that names the last transaction has a wrong bit, so that the one before it counts."""
    data = bytearray((store / "data.mdb").read_bytes())
    numbers = [int.from_bytes(data[at : at + 8], "little") for at in TRANSACTION_AT]
    newest = TRANSACTION_AT[numbers.index(max(numbers))]
    data[newest : newest + 8] = bytes(8)
    (store / "data.mdb").write_bytes(data)


def last_group_is_lost(store: Path) -> None:
    filled(store, [Group([numbered(4, 2)])])
    meta_page_names_the_one_before(store)


def last_outcome_is_lost(store: Path) -> None:
    filled(store, [Group(changes=[outcome(EventStatus.PROCESSED, [2])])])
    meta_page_names_the_one_before(store)


def older_data_is_put_back(store: Path) -> None:
    with_older(store, "data.mdb", [Group([numbered(4, 2)])])


def end_of_the_journal_is_lost(store: Path) -> None:
    with opened(store) as (opened_store, _), closing(Journal(opened_store)) as journal:
        assert journal.append([numbered(4, 1)])
        before = (store / "journal").read_bytes()
        assert journal.append([numbered(5, 1)])
        (store / "journal").write_bytes(before)


def all_of_the_journal_is_lost(store: Path) -> None:
    with opened(store) as (opened_store, _), closing(Journal(opened_store)) as journal:
        assert journal.append([numbered(4, 2)])
    os.truncate(store / "journal", 0)


@pytest.mark.parametrize(
    ("lose", "words"),
    [
        (last_group_is_lost, "data.mdb is older than what was written last, which had the events 4 to 5"),
        (last_outcome_is_lost, "data.mdb is older than what was written last, which had outcomes"),
        (older_data_is_put_back, "data.mdb is older than what was written last, which had the events 4 to 5"),
        (end_of_the_journal_is_lost, "neither data.mdb nor the journal has the event 5"),
        (all_of_the_journal_is_lost, "neither data.mdb nor the journal has the events 4 to 5"),
    ],
)
def test_a_lost_end_is_damage(tmp_path: Path, lose: Callable[[Path], None], words: str) -> None:
    """It is refused, and verify says what is missing; without the two files that know of it, it goes on.

    It was opened, and verify found nothing.
    """
    filled(tmp_path, [Group([numbered(1, 3)])])
    lose(tmp_path)
    with pytest.raises(StoreDamaged, match=words), opened(tmp_path):
        pass  # it is not opened
    assert any(words in problem for problem in verify(tmp_path).problems)
    for name in ("journal", "writer.lock"):
        (tmp_path / name).unlink(missing_ok=True)
    with opened(tmp_path) as (_, writer):
        assert writer.next_number in (4, 5)


def test_what_was_never_finished_is_forgotten(tmp_path: Path) -> None:
    """A witness that says less than there is says nothing: a power cut may leave any older one."""
    filled(tmp_path, [Group([numbered(1, 3)])])
    before = (tmp_path / "writer.lock").read_bytes()
    filled(tmp_path, [Group([numbered(4, 2)])])
    (tmp_path / "writer.lock").write_bytes(before)
    with opened(tmp_path) as (_, writer):
        assert writer.next_number == 6


@pytest.mark.parametrize("at", [70, 140])
def test_a_damaged_witness_says_nothing(tmp_path: Path, at: int) -> None:
    """A wrong bit in it, or another store's, is not the store's damage."""
    path = tmp_path / "writer.lock"
    with path.open("wb+") as file:
        witness = Witness(file.fileno(), IDENTITY)
        witness.stored(Reached(7, 8, 9))
        witness.acknowledged(11)
        assert known(tmp_path, IDENTITY) == Known(Reached(7, 8, 9), 11)
    assert known(tmp_path, b"another ") == Known(NOTHING, 0)
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert known(tmp_path, IDENTITY) in (Known(NOTHING, 11), Known(Reached(7, 8, 9), 0))


def test_no_room_for_a_word_harms_nothing(tmp_path: Path) -> None:
    """Where the witness cannot be written, the store is: it just says less."""
    Witness(-1, IDENTITY).stored(Reached(7, 8, 9))
    assert known(tmp_path, IDENTITY) == Known(NOTHING, 0)
