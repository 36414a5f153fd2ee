"""A disk as a power cut can leave it: what was flushed, and any part of what was not.

The argument. The records of a trace are in one order, in which every change of a file stands before whatever followed
from it: a change is recorded before its call returns, a flush when it has ended. A client puts a mark behind the
records of all that made the server answer. So if the power is cut behind record p, then

- what a flush had ended for before p is on the disk: for a file, all that was recorded when the flush began; for a
  directory, its names; for a write through O_DSYNC, this write;
- of what else was recorded before p each part may be on the disk or not. A file's content reaches the disk in sectors
  of 512 bytes, each as it was at some moment since it was flushed; sizes and names go alone; a rename may be lost, or
  have left both names;
- what was recorded behind p is not there;
- what a client had marked before p must be there: an answer that came later may be missing.

A flush that failed leaves what it was for in doubt for ever: the kernel takes it for clean, so that no later flush
writes it, and yet it may have been written. One that was interrupted (EINTR) leaves all as it was.

The order of names on the disk is not taken from a journal of the file system, and the flush of a new file is not taken
for one of its name, as some file systems have it: a disk may be worse than these.
"""

import errno
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.support.shim.trace import Record

SECTOR = 512
DIRECTORY = -1
"""What a name stands for, if it is no file."""


@dataclass(slots=True)
class Write:
    """A change of a file that is not flushed, or stands behind one that is not."""

    place: int
    """In the order of all changes."""
    kind: str
    offset: int
    data: bytes
    thread: int
    flushed: bool = False
    doubtful: bool = False
    """A flush of it has failed."""

    @property
    def sectors(self) -> range:
        return range(self.offset // SECTOR, -(-(self.offset + len(self.data)) // SECTOR))


@dataclass(slots=True)
class File:
    """One file, whatever its names are."""

    content: bytearray = field(default_factory=bytearray)
    """As flushed, up to the first change that is not."""
    writes: list[Write] = field(default_factory=list)

    def settle(self) -> None:
        while self.writes and self.writes[0].flushed:
            _apply(self.content, self.writes.pop(0), None)


@dataclass(frozen=True, slots=True)
class Naming:
    """A change of a name that is not flushed."""

    place: int
    path: str
    file: int | None
    """None: the name goes."""
    after: str = ""
    """Goes only if this name came: the old name of a rename."""

    @property
    def directory(self) -> str:
        return self.path.rpartition("/")[0]


class Choice:
    """What of the changes that were not flushed is on the disk; this one: nothing."""

    def sectors(self, write: Write) -> Iterable[int]:
        """Return the sectors of a write that are there."""
        return ()

    def whole(self, place: int) -> bool:
        """Return whether a change of a size or a name is there."""
        return False


class Everything(Choice):
    """All of them: as a killed process leaves it."""

    def sectors(self, write: Write) -> Iterable[int]:
        return write.sectors

    def whole(self, place: int) -> bool:
        return True


class InOrder(Choice):
    """All up to one of them, which is torn."""

    def __init__(self, random: Random, places: range) -> None:
        self._random = random
        self._last = random.choice(places) if places else 0

    def sectors(self, write: Write) -> Iterable[int]:
        if write.place == self._last:
            return write.sectors[: self._random.randint(0, len(write.sectors))]
        return write.sectors if write.place < self._last else ()

    def whole(self, place: int) -> bool:
        return place <= self._last


class AnyOrder(Choice):
    """Each of them or not, whatever came before; some in part."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._share = random.choice((0.1, 0.5, 0.9))
        self._torn = random.choice((0, 0.1, 0.5))

    def sectors(self, write: Write) -> Iterable[int]:
        if self._random.random() < self._torn:
            return [each for each in write.sectors if self._random.random() < self._share]
        return write.sectors if self._random.random() < self._share else ()

    def whole(self, place: int) -> bool:
        return self._random.random() < self._share


@dataclass(frozen=True, slots=True)
class Image:
    """What is on the disk."""

    names: Mapping[str, int]
    """Paths below the root: which file each is."""
    contents: Mapping[int, bytes]
    """Of each file."""

    def write(self, to: Path) -> None:
        """Make it in this directory."""
        made: dict[int, Path] = {}
        for path, file in sorted(self.names.items()):
            if file == DIRECTORY:
                (to / path).mkdir(mode=0o700)
            elif file in made:
                (to / path).hardlink_to(made[file])
            else:
                made[file] = to / path
                made[file].write_bytes(self.contents[file])

    def read(self, path: str) -> bytes:
        """Return what the file of this name holds."""
        return self.contents[self.names[path]]


class Disk:
    """Takes the records of a trace, one by one; what it is then is what a power cut may leave in many ways."""

    def __init__(self, root: Path, counts: Callable[[str], bool] = lambda path: True) -> None:
        """`counts`: which paths, below the root, are of interest."""
        self._root, self._counts = f"{root.resolve()}", counts
        self._files: dict[int, File] = {}
        self._names: dict[str, int] = {"": DIRECTORY}
        self._namings: list[Naming] = []
        self._directories = {""}
        self._begun: dict[int, int] = {}
        self.places = 0
        """How many changes there were."""

    def take(self, record: Record) -> None:
        """Take the next record."""
        path = self._below(record.path)
        if path is not None and (not path or self._counts(path)):
            _TAKEN[record.kind](self, record, path)
        elif record.kind in "BS" and not record.file and not record.path:
            _TAKEN[record.kind](self, record, "")

    def image(self, choice: Choice) -> Image:
        """Return what is on the disk, if this is chosen of what was not flushed."""
        names = dict(self._names)
        for each in self._namings:
            came = not each.after or names.get(each.after) == names.get(each.path)
            if came and choice.whole(each.place):
                if each.file is None:
                    names.pop(each.path, None)
                else:
                    names[each.path] = each.file
        reached = {path: file for path, file in names.items() if path and _is_reached(path, names)}
        files = set(reached.values()) - {DIRECTORY}
        return Image(reached, {file: self._content(file, choice) for file in files})

    @property
    def pending(self) -> range:
        """The places of all changes that may be there or not."""
        found = [each.place for file in self._files.values() for each in file.writes if not each.flushed]
        found += [each.place for each in self._namings]
        return range(min(found), max(found) + 1) if found else range(0)

    def _below(self, path: str) -> str | None:
        if path == self._root:
            return ""
        return path[len(self._root) + 1 :] if path.startswith(f"{self._root}/") else None

    def _content(self, number: int, choice: Choice) -> bytes:
        file = self._files[number]
        content = bytearray(file.content)
        newest: dict[int, int] = {}
        for write in file.writes:
            for sector in write.sectors if write.flushed else choice.sectors(write):
                newest[sector] = write.place
        for write in file.writes:
            if write.kind == "W":
                _apply(content, write, newest)
            elif write.flushed or choice.whole(write.place):
                _apply(content, write, None)
        return bytes(content)

    # What the records say.

    def _change(self, record: Record, path: str) -> None:
        self.places += 1
        file = self._files.setdefault(record.file, File())
        file.writes.append(Write(self.places, record.kind, record.offset, record.data, record.thread))

    def _created(self, record: Record, path: str) -> None:
        self._files[record.file] = File()
        self._name(path, record.file)

    def _unnamed(self, record: Record, path: str) -> None:
        self._files[record.file] = File()

    def _linked(self, record: Record, path: str) -> None:
        other = self._below(record.other)
        assert other is not None
        self._name(other, record.file)

    def _renamed(self, record: Record, path: str) -> None:
        self._linked(record, path)
        self._name(path, None, after=self._below(record.other) or "")

    def _made(self, record: Record, path: str) -> None:
        self._directories.add(path)
        self._name(path, DIRECTORY)

    def _removed(self, record: Record, path: str) -> None:
        self._directories.discard(path)
        self._name(path, None)

    def _name(self, path: str, file: int | None, after: str = "") -> None:
        self.places += 1
        self._namings.append(Naming(self.places, path, file, after))

    def _begin(self, record: Record, path: str) -> None:
        self._begun[record.thread] = self.places

    def _end(self, record: Record, path: str) -> None:
        before = self._begun.pop(record.thread)
        if not record.path:
            for file in self._files.values():
                _flushed(file, before, 0)
            self._names_flushed(self._directories, before)
        elif path in self._directories:
            if not record.error:
                self._names_flushed({path}, before)
        elif record.file in self._files:
            _flushed(self._files[record.file], before, record.error)

    def _names_flushed(self, directories: set[str], before: int) -> None:
        left = []
        for each in self._namings:
            if each.directory not in directories or each.place > before:
                left.append(each)
            elif each.file is None:
                self._names.pop(each.path, None)
            else:
                self._names[each.path] = each.file
        self._namings = left

    def _flushed_write(self, record: Record, path: str) -> None:
        file = self._files[record.file]
        write = next(each for each in reversed(file.writes) if each.thread == record.thread)
        write.flushed, write.doubtful = not record.error, bool(record.error)
        file.settle()

    def _said(self, record: Record, path: str) -> None:
        """A mark or a fault changes nothing."""


_TAKEN: Mapping[str, Callable[[Disk, Record, str], None]] = {
    "W": Disk._change,
    "T": Disk._change,
    "A": Disk._change,
    "C": Disk._created,
    "O": Disk._unnamed,
    "L": Disk._linked,
    "R": Disk._renamed,
    "M": Disk._made,
    "U": Disk._removed,
    "N": Disk._removed,
    "B": Disk._begin,
    "S": Disk._end,
    "E": Disk._flushed_write,
    "F": Disk._said,
}


def _flushed(file: File, before: int, error: int) -> None:
    for write in file.writes:
        if write.place <= before and not write.doubtful:
            write.flushed, write.doubtful = not error, error not in {0, errno.EINTR}
    file.settle()


def _apply(content: bytearray, write: Write, newest: Mapping[int, int] | None) -> None:
    """Make the change; of a write, only in those sectors whose newest part is this one or a later one."""
    if write.kind == "T":
        del content[write.offset :]
    if write.kind in "TA":
        content.extend(bytes(max(0, write.offset - len(content))))
        return
    if newest is None or all(newest.get(sector, 0) >= write.place for sector in write.sectors):
        _put(content, write.offset, write.data)
        return
    for sector in write.sectors:
        if newest.get(sector, 0) >= write.place:
            start = max(write.offset, sector * SECTOR)
            stop = min(write.offset + len(write.data), (sector + 1) * SECTOR)
            _put(content, start, write.data[start - write.offset : stop - write.offset])


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _is_reached(path: str, names: Mapping[str, int]) -> bool:
    while path:
        path = path.rpartition("/")[0]
        if names.get(path) != DIRECTORY:
            return False
    return True
