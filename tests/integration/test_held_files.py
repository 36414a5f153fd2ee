"""Files of the store that are taken away while they are in use: nothing is acknowledged that is not in them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import StoreFailed
from storage.journal.journal import Journal
from storage.lmdb_store.held import HeldFile
from storage.model import Group
from tests.support.store import numbered, opened

NAMES_AT = 3
"""Where `os.stat_result` has the number of names."""

TakeAway = Callable[[Path, Path], None]


def reuse(path: Path, stranger: Path) -> None:
    """Lead its descriptors elsewhere, as somebody does who closes them and opens a file of his own."""
    numbers = [int(each.name) for each in Path("/proc/self/fd").iterdir() if each.exists() and each.samefile(path)]
    with stranger.open("wb") as other:
        for number in numbers:
            os.dup2(other.fileno(), number, inheritable=False)


def remove(path: Path, stranger: Path) -> None:
    path.unlink()
    stranger.touch()


@pytest.mark.parametrize("name", ["journal", "writer.lock"])
@pytest.mark.parametrize("take_away", [reuse, remove])
def test_the_journal_writes_into_no_other(tmp_path: Path, take_away: TakeAway, name: str) -> None:
    """A journal that was removed, or whose number leads elsewhere, takes nothing, says so, and writes nothing there.

    So does one without the lock: another process may write into the same file.
    """
    stranger = tmp_path / "stranger"
    with opened(tmp_path / "store") as (store, _):
        journal = Journal(store)
        assert journal.append([numbered(1, 1)])
        take_away(store.path / name, stranger)
        before = (store.path / "journal").read_bytes() if name != "journal" else b""
        assert not journal.append([numbered(2, 1)])
        journal.clear()
        assert not before or (store.path / "journal").read_bytes() == before
        assert name in str(journal.error)
        assert stranger.read_bytes() == b""
        journal.close()


def test_a_file_system_that_counts_no_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every file has 0 names, as on some file systems in user space, none is taken for a removed one."""
    look, path = os.fstat, tmp_path / "data.mdb"
    path.touch()
    with path.open("rb") as file, monkeypatch.context() as patched:
        nameless = os.stat_result([0 if at == NAMES_AT else each for at, each in enumerate(look(file.fileno()))])
        patched.setattr(os, "fstat", lambda number: nameless)
        patched.setattr(Path, "stat", lambda path: nameless)
        HeldFile(path, [file.fileno()]).check()


@pytest.mark.parametrize("name", ["data.mdb", "writer.lock"])
@pytest.mark.parametrize("take_away", [reuse, remove])
def test_no_commit_into_another_file(tmp_path: Path, take_away: TakeAway, name: str) -> None:
    """A store whose file was removed, or whose numbers lead elsewhere, fails for good, and writes nothing there.

    So does one without its lock, beside which another may have been opened.
    """
    stranger = tmp_path / "stranger"
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 1)]))
        take_away(store.path / name, stranger)
        for _ in range(2):
            with pytest.raises(StoreFailed, match=name):
                writer.write(Group([numbered(2, 1)]))
        assert stranger.read_bytes() == b""
