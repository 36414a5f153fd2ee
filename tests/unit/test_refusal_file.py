"""The file of refused requests: what it keeps, what gives way, and what of it is not believed."""

import errno
import os
import stat
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage import sync
from storage.refusals.records import BODY_BYTES_MAX, SLOT_BYTES, RefusalRecord, decode, encode
from storage.refusals.ring_file import NAME, RING_RECORDS, RingFile, read

RECORD = RefusalRecord(
    source_id="demo",
    at_ms=1_700_000_000_000,
    status=401,
    code="unauthorized",
    why="token: not one of this source's tokens",
    is_known=False,
    remote_addr="192.0.2.1",
    method="POST",
    path="/ingest/inbound/demo",
    headers={"user-agent": "a sender"},
    body=b"",
    body_bytes=0,
    suppressed=3,
)
BOTH = ("demo", "other")


def numbered(first: int, count: int, **keys: Any) -> deque[RefusalRecord]:
    return deque(replace(RECORD, at_ms=number, **keys) for number in range(first, first + count))


def write(file: RingFile, records: deque[RefusalRecord]) -> None:
    assert file.write(records) is None
    assert not records


def times(found: list[RefusalRecord]) -> list[int]:
    return [record.at_ms for record in found]


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, body=b"\xff\0" * (BODY_BYTES_MAX // 2), body_bytes=10**9, is_known=True),
        replace(RECORD, headers={f"x-{number}": "é" for number in range(32)}),
    ],
)
def test_a_slot_holds_a_record(record: RefusalRecord) -> None:
    """What is written is read again, whatever it holds."""
    slot = encode(7, record)
    assert len(slot) == SLOT_BYTES
    assert decode(slot) == (7, record)


def test_what_is_too_long_is_cut() -> None:
    """The longest texts, and all the headers that a request may have, still make one slot."""
    long = '"' * 20_000
    headers = {f"x-{number}": long[:255] for number in range(32)}
    record = replace(RECORD, why=long, path="\n\x1b\u202e" + long, remote_addr=long, method=long, body=long.encode())
    found = decode(encode(1, replace(record, headers=headers)))
    assert found is not None
    assert 0 < len(found.record.headers) < len(headers)
    assert found.record.body == long[:BODY_BYTES_MAX].encode()
    assert found.record.why
    assert set(found.record.why) == {'"'}
    assert found.record.path.startswith("  \u202e")


def test_each_ring_forgets_its_oldest(tmp_path: Path) -> None:
    """Of each source and each kind of sender the last records stay; a flood in one ring leaves the others."""
    file = RingFile(tmp_path, BOTH)
    write(file, numbered(1, 3, is_known=True) + numbered(10, 2, source_id="other"))
    write(file, numbered(1000, 5 * RING_RECORDS))
    expected = [*range(1000 + 5 * RING_RECORDS - 1, 1000 + 4 * RING_RECORDS - 1, -1), 3, 2, 1]
    for found in (file.read("demo", 999), read(tmp_path, "demo", 999), RingFile(tmp_path, BOTH).read("demo", 999)):
        assert times(found) == expected
    assert times(read(tmp_path, "other", 1)) == [11]
    assert (tmp_path / NAME).stat().st_size == (RING_RECORDS + 5) * SLOT_BYTES


def test_a_file_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A ring is as full as it was, and its order goes on; the file grows no further than before."""
    for start in range(5):
        write(RingFile(tmp_path, BOTH), numbered(start * 60, 60))
    assert times(read(tmp_path, "demo", 999)) == list(range(299, 199, -1))
    assert (tmp_path / NAME).stat().st_size == RING_RECORDS * SLOT_BYTES


def test_a_removed_source_makes_room(tmp_path: Path) -> None:
    """What is on record of a source stays until its place is needed, once that is no longer configured."""
    write(RingFile(tmp_path, BOTH), numbered(1, 4, source_id="other"))
    file = RingFile(tmp_path, ("demo",))
    assert times(read(tmp_path, "other", 9)) == [4, 3, 2, 1]
    write(file, numbered(10, 3))
    assert len(read(tmp_path, "other", 9)) == 1
    assert (tmp_path / NAME).stat().st_size == 4 * SLOT_BYTES


def test_torn_slots_are_ignored_and_reused(tmp_path: Path) -> None:
    """A slot that was half written, or spoilt, takes nothing else with it, and is written again."""
    write(RingFile(tmp_path, BOTH), numbered(1, 5))
    path = tmp_path / NAME
    with path.open("r+b") as file:
        file.seek(2 * SLOT_BYTES + 40)
        file.write(b"\0" * 100)
        file.truncate(4 * SLOT_BYTES + 100)
    assert times(read(tmp_path, "demo", 9)) == [4, 2, 1]
    write(RingFile(tmp_path, BOTH), numbered(6, 2))
    assert times(read(tmp_path, "demo", 9)) == [7, 6, 4, 2, 1]
    assert path.stat().st_size == 5 * SLOT_BYTES


def test_the_file_is_private(tmp_path: Path) -> None:
    """Its mode is 0600 whatever the umask."""
    umask = os.umask(0)
    try:
        write(RingFile(tmp_path, BOTH), numbered(1, 1))
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_another_kind_of_file_is_refused(tmp_path: Path, kind: str) -> None:
    """Where something else has its name nothing is read, written or waited for, and who asks hears why."""
    path, elsewhere = tmp_path / NAME, tmp_path / "elsewhere"
    elsewhere.write_bytes(encode(1, RECORD))
    if kind == "link":
        path.symlink_to(elsewhere)
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    file, records = RingFile(tmp_path, BOTH), numbered(1, 2)
    assert file.read("demo", 9) == []
    with pytest.raises(OSError, match=r"refusals|symbolic"):
        read(tmp_path, "demo", 9)
    assert isinstance(file.write(records), OSError)
    assert len(records) == 2
    assert elsewhere.read_bytes() == encode(1, RECORD)


def test_a_full_disk_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk does not take is left to the caller; what was written is still there, and goes on afterwards."""
    file, write_at, room = RingFile(tmp_path, BOTH), sync.write_at, 2

    def fails_when_full(descriptor: int, content: bytes, offset: int) -> None:
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, "full")
        write_at(descriptor, content, offset)

    monkeypatch.setattr(sync, "write_at", fails_when_full)
    records = numbered(1, 5)
    assert isinstance(file.write(records), OSError)
    assert times(list(records)) == [3, 4, 5]
    assert times(file.read("demo", 9)) == [2, 1]
    room = 9
    write(file, records)
    assert times(file.read("demo", 9)) == times(read(tmp_path, "demo", 9)) == [5, 4, 3, 2, 1]
    assert (tmp_path / NAME).stat().st_size == 5 * SLOT_BYTES


def test_a_failing_disk_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a full ring cannot be written to, what it holds is shown, and gives way in its order afterwards."""
    file, write_at = RingFile(tmp_path, BOTH), sync.write_at
    write(file, numbered(1, RING_RECORDS))

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(sync, "write_at", fails)
    for _ in range(RING_RECORDS + 7):
        assert isinstance(file.write(numbered(1000, 1)), OSError)
    assert times(file.read("demo", 999)) == list(range(RING_RECORDS, 0, -1))
    monkeypatch.setattr(sync, "write_at", write_at)
    write(file, numbered(2000, 1))
    assert times(file.read("demo", 999)) == [2000, *range(RING_RECORDS, 1, -1)]
    assert (tmp_path / NAME).stat().st_size == RING_RECORDS * SLOT_BYTES


def test_a_removed_file_comes_back(tmp_path: Path) -> None:
    """Somebody who removes the file of a running server takes away what it held, and nothing else."""
    file = RingFile(tmp_path, BOTH)
    write(file, numbered(1, 3))
    (tmp_path / NAME).unlink()
    assert file.read("demo", 9) == []
    write(file, numbered(4, 2))
    assert times(file.read("demo", 9)) == times(read(tmp_path, "demo", 9)) == [5, 4]
