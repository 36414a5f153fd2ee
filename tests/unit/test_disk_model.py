"""The model of the disk, on traces written by hand."""

import errno
from pathlib import Path
from random import Random

import pytest

from tests.support.shim.disk import SECTOR, AnyOrder, Choice, Disk, Everything, InOrder, Write
from tests.support.shim.trace import Record

ROOT = Path("/nowhere/at/all")
FILE = 7


class Chosen(Choice):
    """Only the changes at these places."""

    def __init__(self, *places: int) -> None:
        self._places = places

    def sectors(self, write: Write) -> range:
        return write.sectors if write.place in self._places else range(0)

    def whole(self, place: int) -> bool:
        return place in self._places


def record(kind: str, path: str = "file", *, thread: int = 1, file: int = FILE, **more: object) -> Record:
    values = {"error": 0, "offset": 0, "other": "", "data": b"", **more}
    if values["other"]:
        values["other"] = f"{ROOT}/{values['other']}"
    return Record(kind, file=file, thread=thread, path=f"{ROOT}/{path}".rstrip("/"), **values)  # type: ignore[arg-type]


def written(data: bytes, offset: int = 0, **more: object) -> Record:
    return record("W", data=data, offset=offset, **more)  # type: ignore[arg-type]


def flushed(path: str = "file", *, error: int = 0, thread: int = 1) -> list[Record]:
    return [record("B", path, thread=thread), record("S", path, error=error, thread=thread)]


def disk(*records: Record | list[Record]) -> Disk:
    found = Disk(ROOT)
    for each in records:
        for one in each if isinstance(each, list) else [each]:
            found.take(one)
    return found


def made(*records: Record | list[Record]) -> Disk:
    """A file whose name is on the disk, and what else is done."""
    return disk(record("C"), flushed(""), *records)


def test_nothing_unflushed_need_be_there() -> None:
    """What was flushed is there in every image; what was written since is there in some."""
    found = made(written(b"old"), flushed(), written(b"new"))
    assert found.image(Choice()).read("file") == b"old"
    assert found.image(Everything()).read("file") == b"new"


def test_a_flush_covers_what_preceded_it() -> None:
    """What is written while a flush goes on, by another thread, is not flushed by it."""
    found = made(written(b"one"), record("B"), written(b"two", 3, thread=2), record("S"))
    assert found.image(Choice()).read("file") == b"one"


def test_a_flush_counts_once_it_ended() -> None:
    """While a flush goes on, nothing that it is for need be there."""
    assert made(written(b"one"), record("B")).image(Choice()).read("file") == b""


def test_a_synchronous_write_flushes_itself_alone() -> None:
    """A write through O_DSYNC leaves what other sectors have from before as it was."""
    found = made(written(b"a" * 3 * SECTOR), written(b"b", SECTOR), record("E"))
    content = found.image(Choice()).read("file")
    assert content == bytes(SECTOR) + b"b" + b"a" * (SECTOR - 1)


def test_sectors_hold_what_they_held_once() -> None:
    """A later write of a sector brings what was written there before."""
    found = made(written(b"aa"), written(b"b", 2), written(b"c", SECTOR))
    assert found.image(Chosen(3)).read("file") == b"aab"
    assert found.image(Chosen(4)).read("file") == bytes(SECTOR) + b"c"


def test_a_torn_write_ends_at_a_sector() -> None:
    """Of a write that is torn whole sectors are there."""
    found = made(written(bytes(SECTOR), 0), flushed(), written(b"x" * 4 * SECTOR, 100))
    sizes = {len(found.image(InOrder(Random(seed), found.pending)).read("file")) for seed in range(50)}
    assert sizes == {SECTOR * each for each in range(1, 5)} | {SECTOR * 4 + 100}


def test_any_order_finds_every_subset() -> None:
    """Each of three writes is there with and without each other."""
    found = made(*(written(b"x", each * SECTOR) for each in range(3)))
    images = {found.image(AnyOrder(Random(seed))).read("file").ljust(3 * SECTOR, b"\0") for seed in range(200)}
    assert len({image[::SECTOR] for image in images}) == 8


def test_a_name_waits_for_its_directory() -> None:
    """The flush of a new file does not keep its name; the flush of its directory does."""
    found = disk(record("C"), written(b"one"), flushed())
    assert not found.image(Choice()).names
    assert disk(record("C"), written(b"one"), flushed(), flushed("")).image(Choice()).read("file") == b"one"


def test_a_lost_directory_loses_its_names() -> None:
    """Names in a directory that is itself lost are not there, flushed or not."""
    found = disk(record("M", "in"), record("C", "in/file"), flushed("in"))
    assert not found.image(Choice()).names
    assert set(found.image(Everything()).names) == {"in", "in/file"}


def test_a_rename_may_leave_both_names() -> None:
    """Of a rename nothing, both names or the new one alone is there, and never neither."""
    found = made(written(b"one"), flushed(), record("R", other="other"))
    images = [set(found.image(AnyOrder(Random(seed))).names) for seed in range(50)]
    assert sorted(map(sorted, {frozenset(each) for each in images})) == [["file"], ["file", "other"], ["other"]]


def test_a_rename_over_another_keeps_one() -> None:
    """The name that a rename takes stands for the old file or the new one."""
    found = made(written(b"old"), flushed(), record("C", "new", file=8), written(b"n", path="new", file=8))
    for each in [*flushed("new"), record("R", "new", other="file", file=8)]:
        found.take(each)
    assert {found.image(AnyOrder(Random(seed))).read("file") for seed in range(50)} == {b"old", b"n", b""}


@pytest.mark.parametrize(("error", "there"), [(errno.EIO, b"old"), (errno.EINTR, b"new")])
def test_a_failed_flush_is_never_made_good(error: int, there: bytes) -> None:
    """What a flush failed for is in doubt for ever; what one was interrupted for is flushed by the next."""
    found = made(written(b"old"), flushed(), written(b"new"), flushed(error=error), flushed())
    assert found.image(Choice()).read("file") == there
    assert found.image(Everything()).read("file") == b"new"


def test_sizes_are_changes_of_their_own() -> None:
    """A file that is cut or enlarged may be of the old size still."""
    cut = made(written(b"abc"), flushed(), record("T", offset=1))
    assert [cut.image(each).read("file") for each in (Choice(), Everything())] == [b"abc", b"a"]
    grown = made(record("A", offset=4))
    assert [grown.image(each).read("file") for each in (Choice(), Everything())] == [b"", bytes(4)]
