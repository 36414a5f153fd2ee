"""The file of what is in hand: what it says after the process, and what it does not believe."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.in_hand.in_hand import InHand, Whose, recall
from storage.in_hand.records import PAGE_BYTES, PAGE_NUMBERS_MAX, Suspect
from storage.store_time import UNKNOWN_BOOT

OURS = Whose(b"this boot is one", b"store-01")
KNOWN = {5: Suspect(1, owed=False), 9: Suspect(2, owed=True)}


def opened(path: Path, suspects: dict[int, Suspect] | None = None, whose: Whose = OURS) -> InHand:
    """The file of a process, whose failures are a failure of the test."""
    return InHand(path, whose, suspects or {}, _failed)


def _failed(error: OSError) -> None:
    raise AssertionError from error


@contextmanager
def dies_holding(file: InHand, *numbers: int) -> Iterator[None]:
    """Within the block the file is as a process leaves it that dies with these in hand."""
    with file.hand().holding(numbers):
        yield


def test_a_first_death_is_not_counted(tmp_path: Path) -> None:
    """Who is in hand for the first time when the process dies is a suspect; nothing is owed."""
    with dies_holding(opened(tmp_path), 7, 3):
        assert recall(tmp_path, OURS) == {3: Suspect(1, owed=False), 7: Suspect(1, owed=False)}


def test_a_suspects_death_is_owed(tmp_path: Path) -> None:
    """A suspect that was in hand again has one death more, which is to be counted; the other suspects stay."""
    with dies_holding(opened(tmp_path, KNOWN), 5):
        assert recall(tmp_path, OURS) == KNOWN | {5: Suspect(2, owed=True)}


def test_what_came_back_is_not_in_hand(tmp_path: Path) -> None:
    """After the call, whatever became of it, nothing of it is in hand."""
    file = opened(tmp_path, KNOWN)
    with pytest.raises(ZeroDivisionError), dies_holding(file, 5, 6):
        raise ZeroDivisionError
    assert recall(tmp_path, OURS) == KNOWN


def test_hands_are_kept_apart(tmp_path: Path) -> None:
    """Each source has its own; one that comes back leaves the others."""
    file = opened(tmp_path)
    one, other = file.hand(), file.hand()
    with one.holding([1]):
        with other.holding([2]):
            assert set(recall(tmp_path, OURS)) == {1, 2}
        assert set(recall(tmp_path, OURS)) == {1}


def test_a_batch_of_many_pages_is_recalled(tmp_path: Path) -> None:
    """A batch is recalled whole however many events it has, and a smaller one after it too."""
    hand = opened(tmp_path).hand()
    with hand.holding(range(1, 3 * PAGE_NUMBERS_MAX)):
        assert set(recall(tmp_path, OURS)) == set(range(1, 3 * PAGE_NUMBERS_MAX))
    with hand.holding([2**64 - 1]):
        assert set(recall(tmp_path, OURS)) == {2**64 - 1}


def test_an_end_on_purpose_counts_nothing(tmp_path: Path) -> None:
    """After a drain, whenever it was cut off, nobody was in hand; the suspects of before stay."""
    file = opened(tmp_path, KNOWN)
    with dies_holding(file, 5, 6):
        file.ending()
        assert recall(tmp_path, OURS) == KNOWN


def test_an_outcome_clears_a_suspect(tmp_path: Path) -> None:
    """What has an outcome is no suspect; what was counted is owed no more."""
    file = opened(tmp_path, KNOWN)
    file.clear(range(4, 8))
    file.counted(9)
    assert file.suspects == recall(tmp_path, OURS) == {9: Suspect(2, owed=False)}


@pytest.mark.parametrize(
    "whose", [Whose(b"another boot 123", OURS.store), Whose(OURS.boot_id, b"store-02")], ids=["boot", "store"]
)
def test_another_boot_or_store_is_ignored(tmp_path: Path, whose: Whose) -> None:
    """What another boot of the host or another store left says nothing."""
    with dies_holding(opened(tmp_path, KNOWN), 6):
        assert recall(tmp_path, whose) == {}


def test_a_host_without_boot_ids_is_not_believed(tmp_path: Path) -> None:
    """Where boots cannot be told apart, a power cut would count."""
    nowhere = Whose(UNKNOWN_BOOT, OURS.store)
    with dies_holding(opened(tmp_path, KNOWN, nowhere), 6):
        assert recall(tmp_path, nowhere) == {}


def test_a_file_cut_anywhere_says_nothing_false(tmp_path: Path) -> None:
    """Cut or damaged at any byte, the file says of each event what it said before, or nothing."""
    with dies_holding(opened(tmp_path, KNOWN), 5, 6, 7):
        content = (tmp_path / "in-hand").read_bytes()
        whole = recall(tmp_path, OURS)
    assert len(whole) == 4
    before = [*KNOWN.items(), *whole.items(), (5, Suspect(1, owed=False))]
    for at in [*range(128), *range(PAGE_BYTES - 8, len(content))]:
        for torn in (content[:at], content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]):
            (tmp_path / "in-hand").write_bytes(torn)
            assert all(found in before for found in recall(tmp_path, OURS).items()), at


@pytest.mark.parametrize("content", [None, b"", bytes(PAGE_BYTES), bytes(3 * PAGE_BYTES + 5)])
def test_what_is_not_a_file_is_ignored(tmp_path: Path, content: bytes | None) -> None:
    """None, an empty one, and zeros, as a power cut leaves them."""
    if content is not None:
        (tmp_path / "in-hand").write_bytes(content)
    assert recall(tmp_path, OURS) == {}


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("elsewhere"), Path.touch])
@pytest.mark.parametrize("name", ["in-hand", "in-hand.new"])
def test_odd_files_in_its_place_are_replaced(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    """Whatever has the name of the file, or the one it is made under: a pipe blocks nobody, a link is not followed."""
    make(tmp_path / name)
    assert recall(tmp_path, OURS) == {}
    with dies_holding(opened(tmp_path), 1):
        assert set(recall(tmp_path, OURS)) == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["in-hand"]


def test_a_file_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """Events are in hand without it, and the old one, which would be read twice, is gone if it can be."""
    said: list[OSError] = []
    with dies_holding(InHand(tmp_path, OURS, KNOWN, lambda _: None), 5):  # the dead one would miss its file
        (tmp_path / "in-hand.new").mkdir()
        file = InHand(tmp_path, OURS, KNOWN, said.append)
        with file.hand().holding([1]):
            file.counted(9)
            file.clear([5, 9])
            file.ending()
    assert [error.errno for error in said] == [errno.EISDIR]
    assert file.suspects == {}
    assert recall(tmp_path, OURS) == {}


def test_a_full_disk_is_said_and_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that finds no room is said; the events are in hand all the same."""
    said: list[OSError] = []
    file = InHand(tmp_path, OURS, {}, said.append)
    hand = file.hand()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with hand.holding([1]):
            file.ending()  # in a signal handler, where nothing may be said
    assert [error.errno for error in said] == 2 * [errno.ENOSPC]
    with hand.holding([2]):
        assert set(recall(tmp_path, OURS)) == {2}
