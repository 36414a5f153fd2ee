"""The file `refusals` beside the store: a bounded number of records of each source, of which the oldest give way.

Guarantees
- It survives the process, not the host: it is written into the page cache, and never flushed.
- A source has two rings of RING_RECORDS at most: of senders that were known, and of strangers. So neither a flood nor
  a stranger can push out what the other ring holds, and the file is no larger than two rings of each source.
- What is torn or foreign is ignored, and its place is used again.

The file is opened for each use: a processor that closes descriptors, or somebody who removes the file, does no harm.
"""

import contextlib
import os
import stat
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from storage import sync
from storage.lmdb_store.disk import give_to_owner
from storage.refusals import records
from storage.refusals.records import SLOT_BYTES, Numbered, RefusalRecord

NAME = "refusals"
RING_RECORDS = 100
"""Of each ring: at the rate at which strangers are recorded, the last minutes of a flood."""
_READ_SLOTS = 128
"""That are read at once: 1 MiB."""

_Ring = deque[tuple[int, int]]
"""Number and slot of each record, the oldest first."""


def read(path: Path, source_id: str, limit: int) -> list[RefusalRecord]:
    """Return the last refusals of a source in the store's directory `path`, the newest first. Raises OSError."""
    try:
        found = [each for _, each in _scan(path) if each.record.source_id == source_id]
    except FileNotFoundError:
        return []
    return _newest(found, limit)


def forget(path: Path, source_id: str) -> None:
    """Take bodies and headers out of all records of a source in the store's directory `path`, and what is in no record
    out of the file, which nobody else may write to. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), _opened(path, os.O_RDWR) as file:
        for slot in range(_slots_of(os.fstat(file))):
            content = os.pread(file, SLOT_BYTES, slot * SLOT_BYTES)
            found = records.decode(content)
            if found is None:
                made = bytes(len(content))
            elif found.record.source_id == source_id:
                made = records.encode(found.number, replace(found.record, headers={}, body=b"", body_bytes=0))
            else:
                continue
            if made != content:
                sync.write_at(file, made, slot * SLOT_BYTES)
        sync.flush_data(file)


def _newest(found: Sequence[Numbered], limit: int) -> list[RefusalRecord]:
    return [each.record for each in sorted(found, key=lambda each: each.number, reverse=True)[:limit]]


def _scan(path: Path) -> Iterator[tuple[int, Numbered]]:
    """Yield the slot of each record with it. Raises OSError."""
    with _opened(path, os.O_RDONLY) as file:
        for first in range(0, _slots_of(os.fstat(file)), _READ_SLOTS):
            content = os.pread(file, _READ_SLOTS * SLOT_BYTES, first * SLOT_BYTES)
            for at in range(0, len(content), SLOT_BYTES):
                found = records.decode(content[at : at + SLOT_BYTES])
                if found is not None:
                    yield first + at // SLOT_BYTES, found


def _slots_of(found: os.stat_result) -> int:
    """Return how many slots a file has, the last of which may have been cut."""
    return -(-found.st_size // SLOT_BYTES)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Open the file. Raises OSError, also if it is a link, or no regular file."""
    file = os.open(path / NAME, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(f"{path / NAME} is not a regular file")
        yield file
    finally:
        os.close(file)


class RingFile:
    """The file of a running server. For one thread: all of it waits for the disk."""

    def __init__(self, path: Path, source_ids: Collection[str]) -> None:
        """`source_ids`: those that are configured. Records of others stay until their places are needed."""
        self._path = path
        self._rings: dict[tuple[str, bool], _Ring] = {}
        self._free: deque[int] = deque()
        self._slots = 0
        self._next = 1
        self._recall(source_ids)

    def _recall(self, source_ids: Collection[str]) -> None:
        places: dict[int, tuple[int, tuple[str, bool]]] = {}
        with contextlib.suppress(OSError):  # then nothing can be written either, which is said
            places.update(self._headers())
        for slot, (number, ring) in sorted(places.items(), key=lambda each: each[1][0]):
            if ring[0] in source_ids:
                self._place(ring, number, slot)
            else:
                self._free.append(slot)
            self._next = number + 1
        with contextlib.suppress(OSError):
            self._slots = _slots_of((self._path / NAME).stat(follow_symlinks=False))
        self._free.extendleft(slot for slot in range(self._slots) if slot not in places)

    def _headers(self) -> Iterator[tuple[int, tuple[int, tuple[str, bool]]]]:
        for slot, (number, record) in _scan(self._path):
            yield slot, (number, (record.source_id, record.is_known))

    def _place(self, key: tuple[str, bool], number: int, slot: int) -> None:
        """Note that the newest record of a ring is in this slot; the places of those that are too many are free."""
        ring = self._rings.setdefault(key, deque())
        ring.append((number, slot))
        while len(ring) > RING_RECORDS:
            self._free.append(ring.popleft()[1])

    def write(self, found: deque[RefusalRecord]) -> OSError | None:
        """Take records out and write them; return what kept the first of those that are left from the file."""
        try:
            with _opened(self._path, os.O_WRONLY | os.O_CREAT) as file:
                if os.fstat(file).st_size == 0:
                    os.fchmod(file, 0o600)
                    give_to_owner(self._path / NAME)
                while found:
                    self._write(file, found[0])
                    found.popleft()
        except OSError as error:
            return error
        return None

    def _write(self, file: int, record: RefusalRecord) -> None:
        key = record.source_id, record.is_known
        ring = self._rings.get(key, deque())
        oldest = ring.popleft() if len(ring) >= RING_RECORDS else None
        if oldest is not None:
            slot = oldest[1]
        elif self._free:
            slot = self._free.popleft()
        else:
            slot, self._slots = self._slots, self._slots + 1
        try:
            sync.write_at(file, records.encode(self._next, record), slot * SLOT_BYTES)
        except OSError:
            if oldest is None:
                self._free.append(slot)
            else:
                ring.appendleft(oldest)
            raise
        self._place(key, self._next, slot)
        self._next += 1

    def read(self, source_id: str, limit: int) -> list[RefusalRecord]:
        """Return the last refusals of a source, the newest first. Raises nothing."""
        slots = [slot for is_known in (True, False) for _, slot in self._rings.get((source_id, is_known), ())]
        found: list[Numbered] = []
        with contextlib.suppress(OSError), _opened(self._path, os.O_RDONLY) as file:
            read = [records.decode(os.pread(file, SLOT_BYTES, slot * SLOT_BYTES)) for slot in slots]
            found = [each for each in read if each is not None and each.record.source_id == source_id]
        return _newest(found, limit)
