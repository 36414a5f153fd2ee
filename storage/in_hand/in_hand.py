"""The file `in-hand` beside the store: which events are with a processor, for the start after a process that died.

Guarantees
- What is in it survives the process, not the host: it is written into the page cache, and never flushed. After a reboot
  it says nothing, and neither does a copy of it beside another store.
- Nothing waits for it and nothing ends by it: where it cannot be written, events are in hand all the same, and it is
  said.
- An end of the process on purpose (`ending`) leaves nobody in hand.

Written by `pwrite`, which costs some microseconds a call of a processor. Rejected: a map of the file. It would take two
instead of six, but on a full disk a file system that copies on write answers a store into the map with SIGBUS, which
would end the process for the sake of a file that is about the ends of processes.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from storage import sync
from storage.frozen import frozen
from storage.in_hand import records
from storage.in_hand.records import PAGE_BYTES, PAGE_NUMBERS_MAX, Suspect
from storage.lmdb_store.disk import give_to_owner
from storage.lmdb_store.held import HeldFile

NAME = "in-hand"
_EMPTY_PAGE = bytes(records.PAGE_HEAD_BYTES)
_NOBODY = bytes(records.SUSPECT_BYTES)

Complain = Callable[[OSError], None]


@frozen
class Whose:
    """Which boot and which store a file belongs to."""

    boot_id: bytes
    store: bytes


def recall(path: Path, whose: Whose) -> dict[int, Suspect]:
    """Return the suspects of the store in the directory `path`: who was in hand when the process before died, and who
    was a suspect before. They may have an outcome already."""
    try:
        opened = os.open(path / NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            return records.suspects_after(file.read(), whose.boot_id, whose.store)
    except OSError:
        return {}


class InHand:
    """The file of a running server. `suspects`: those of the start that have no outcome yet."""

    def __init__(self, path: Path, whose: Whose, suspects: Mapping[int, Suspect], complain: Complain) -> None:
        """Begin the file anew with these suspects; what was in it is forgotten. `complain` hears of every failure, on
        any thread."""
        self.suspects = dict(suspects)
        self._complain = complain
        self._places = {number: place for place, number in enumerate(suspects)}
        self._pages = count(records.pages_at(len(suspects)), PAGE_BYTES)
        self._held: HeldFile | None = None
        self._file = self._begin(path, records.encode_head(whose.boot_id, whose.store, suspects))

    def _begin(self, path: Path, head: bytes) -> int | None:
        new = path / f"{NAME}.new"
        try:
            new.unlink(missing_ok=True)  # a file that was not finished, or no file at all
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.fchmod(file, 0o600)
                give_to_owner(new)
                sync.write_at(file, head, 0)
                new.replace(path / NAME)
                self._held = HeldFile(path / NAME, (file,))
            except OSError:
                os.close(file)
                raise
        except OSError as error:
            self._complain(error)
            for each in (new, path / NAME):  # the old one would say the same again at the next start
                with contextlib.suppress(OSError):
                    each.unlink()
            return None
        return file

    def hand(self) -> "Hand":
        """Return a hand that is empty: for one caller, who holds the events of one call at a time."""
        return Hand(self)

    def counted(self, number: int) -> None:
        """Record that the death of this suspect is counted as an attempt; call right before that is written, so that
        it is counted once at most."""
        suspect = self.suspects[number] = Suspect(self.suspects[number].deaths, owed=False)
        self.write(records.encode_suspect(number, suspect), records.suspect_at(self._places[number]))

    def clear(self, numbers: Iterable[int]) -> None:
        """Forget those of these that are suspects; call when they have an outcome on disk."""
        for number in self.suspects.keys() & set(numbers) if self.suspects else ():
            del self.suspects[number]
            self.write(_NOBODY, records.suspect_at(self._places[number]))

    def ending(self) -> None:
        """Record that the process ends on purpose: whatever is in hand then counts as nothing. Idempotent.

        For a signal handler, which may interrupt whoever is saying something: of a failure nothing is said.
        """
        if self._file is not None:
            with contextlib.suppress(OSError):
                sync.write_at(self._file, records.ENDING, records.ENDING_AT)

    def let_go(self) -> None:
        """Write nothing more; call in a process that a processor forked: what it does with its copies of the events
        says nothing about those that are in hand here."""
        self._file = None

    def page(self) -> int:
        """Return the offset of a page that nobody else writes."""
        return next(self._pages)

    def write(self, content: bytes, offset: int) -> None:
        """Write into the file if there is one, on any thread; failures are said."""
        if self._file is None:
            return
        try:
            if self._held is not None:
                self._held.check()
            sync.write_at(self._file, content, offset)
        except OSError as error:
            self._complain(error)


class Hand:
    """The events that one source's processor has in hand."""

    def __init__(self, file: InHand) -> None:
        self._file = file
        self._pages: list[int] = []

    @contextmanager
    def holding(self, numbers: Sequence[int]) -> Iterator[None]:
        """Within the block these events are in hand. One block at a time, on any thread."""
        used = range(0, len(numbers), PAGE_NUMBERS_MAX)
        while len(self._pages) < len(used):
            self._pages.append(self._file.page())
        pages = self._pages[: len(used)]
        for page, first in zip(pages, used, strict=True):
            self._file.write(records.encode_page(numbers[first : first + PAGE_NUMBERS_MAX]), page)
        try:
            yield
        finally:
            for page in pages:
                self._file.write(_EMPTY_PAGE, page)
