"""Opening a store: one writer, one format, private files, errors with the right name."""

import errno
import math
import os
import random
import resource
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest

from server.flow.suspects import find_suspects
from storage.check.verify import verify
from storage.codec.records import seal
from storage.errors import (
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreLocked,
    StoreMissing,
    StoreVersion,
)
from storage.journal.journal import Journal
from storage.lmdb_store import disk, lock
from storage.lmdb_store.environment import Store
from storage.lmdb_store.errors import lmdb_errors
from storage.lmdb_store.reserve import RESERVE_BYTES_MIN
from storage.migrate.convert import migrate
from storage.model import Group
from tests.support.format_1 import old_store
from tests.support.store import MAP_SIZE_BYTES, filled, numbered, opened
from tests.support.waiting import HANG_SECONDS

READ = """
import sys
import threading
from pathlib import Path
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
store = Store.open(Path(sys.argv[1]), mode="read")
print(Reader(store).totals()["demo"].received)
"""
WRITE = """
import sys
import threading
from pathlib import Path
from storage.lmdb_store.environment import Store
Store.open(Path(sys.argv[1]), map_size_bytes=1 << 28, mode="write")
"""


def child(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_store_is_private(tmp_path: Path) -> None:
    """The directory is 0700 and the files 0600, whatever the umask and whatever the directory was."""
    path = tmp_path / "deep" / "store"
    path.mkdir(parents=True, mode=0o755)
    umask = os.umask(0)
    try:
        with opened(path) as (store, _):
            find_suspects(store)
            modes = {entry.name: mode_of(entry) for entry in path.iterdir()}
    finally:
        os.umask(umask)
    assert mode_of(path) == 0o700
    assert modes == dict.fromkeys(("data.mdb", "in-hand", "lock.mdb", "writer.lock"), 0o600)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """While one process writes another one cannot open the store to write, and can afterwards."""
    path = tmp_path / "store"
    with opened(path):
        refused = child(WRITE, path)
        assert "StoreLocked: another process writes to the store" in refused.stderr
        with pytest.raises(StoreLocked):
            Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
    assert child(WRITE, path).returncode == 0


def test_who_may_wait_gets_the_lock(tmp_path: Path) -> None:
    """A command that just looks at a stopped store keeps no server from its start."""
    held = lock.take(tmp_path, 0)
    waiting = threading.Timer(3 * lock.LOCK_POLL_SECONDS, os.close, [held])
    waiting.start()
    with pytest.raises(StoreLocked):
        Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
    Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode="write", lock_wait_seconds=HANG_SECONDS).close()
    waiting.join()


def test_a_reader_works_beside_a_writer(tmp_path: Path) -> None:
    """Another process reads what is committed while the store is written to, and when it is stopped."""
    path = tmp_path / "store"
    with opened(path) as (_, writer):
        writer.write(Group([numbered(1, 3)]))
        assert child(READ, path).stdout == "3\n"
        writer.write(Group([numbered(4, 2)]))
        assert child(READ, path).stdout == "5\n"
    assert child(READ, path).stdout == "5\n"


def test_a_copy_is_read_on_read_only_disks(tmp_path: Path) -> None:
    """A copy of the data file alone can be read, and so can one in a directory that is read-only."""
    path, copy = tmp_path / "store", tmp_path / "copy"
    filled(path, [Group([numbered(1, 3)])])
    copy.mkdir()
    shutil.copy(path / "data.mdb", copy)
    assert child(READ, copy).stdout == "3\n"
    (copy / "lock.mdb").unlink()
    copy.chmod(0o500)
    try:
        nobody = "import os; os.geteuid() or os.setuid(65534)\nstore ="  # root could write there
        tmp_path.chmod(0o755)
        for directory in (copy, *tmp_path.parents):
            if directory.stat().st_mode & 0o055 != 0o055:
                directory.chmod(directory.stat().st_mode | 0o055)
        (copy / "data.mdb").chmod(0o444)
        assert child(READ.replace("store =", nobody), copy).stdout == "3\n"
    finally:
        copy.chmod(0o700)


def test_a_missing_store_is_not_made_by_reading(tmp_path: Path) -> None:
    """Reading where there is no store raises StoreMissing and leaves nothing behind."""
    with pytest.raises(StoreMissing):
        Store.open(tmp_path / "none", mode="read")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["read", "write"])
def test_another_format_is_refused(tmp_path: Path, mode: str) -> None:
    """A store that says another format is refused, with both formats in the message."""
    filled(tmp_path / "store", [])
    with opened(tmp_path / "store") as (store, _), store.env.begin(write=True) as txn:
        txn.put(b"format", seal(b"meta", b"format", b"tidegate store 3"), db=store.meta)
    with pytest.raises(StoreVersion, match=r"'tidegate store 3'.*'tidegate store 2'"):
        Store.open(tmp_path / "store", map_size_bytes=MAP_SIZE_BYTES, mode=mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["read", "write"])
def test_another_lmdb_environment_is_refused(tmp_path: Path, mode: str) -> None:
    """An LMDB environment of another program is refused, and not changed."""
    env = lmdb.open(str(tmp_path / "store"), lib_version=0)
    with env.begin(write=True) as txn:
        txn.put(b"theirs", b"value")
    env.close()
    with pytest.raises(StoreVersion, match="not a store of Tidegate"):
        Store.open(tmp_path / "store", map_size_bytes=MAP_SIZE_BYTES, mode=mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_file_of_something_else_is_damage(tmp_path: Path, mode: str) -> None:
    """A data file that is no LMDB file raises StoreDamaged."""
    (tmp_path / "data.mdb").write_bytes(b"garbage" * 10_000)
    with pytest.raises(StoreDamaged):
        Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode=mode)  # type: ignore[arg-type]


def test_an_impossible_directory_is_a_store_error(tmp_path: Path) -> None:
    """Where the directory cannot be made, that is a StoreError and no OSError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is not a directory"):
        Store.open(tmp_path / "file", map_size_bytes=MAP_SIZE_BYTES, mode="write")


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_start_that_was_interrupted_is_finished(tmp_path: Path, after: int) -> None:
    """Whatever of lock file, empty environment and empty directory a crash leaves, the next start makes a store."""
    path = tmp_path / "store"
    path.mkdir()
    if after >= 1:
        (path / "writer.lock").touch()
    if after >= 2:
        lmdb.open(str(path), lib_version=0).close()
        with pytest.raises(StoreMissing):
            Store.open(path, mode="read")
    filled(path, [Group([numbered(1, 1)])])
    assert child(READ, path).stdout == "1\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (lmdb.MapFullError("mdb_put: MDB_MAP_FULL"), StoreFull),
        (lmdb.Error("mdb_txn_commit: No space left on device"), StoreFull),
        (lmdb.Error("mdb_txn_commit: Disk quota exceeded"), StoreFull),
        (lmdb.Error("mdb_txn_commit: File too large"), StoreFull),
        (lmdb.Error("mdb_txn_commit: Input/output error"), StoreFailed),
        (lmdb.CorruptedError("mdb_get: MDB_CORRUPTED"), StoreDamaged),
        (lmdb.Error("mdb_put: Cannot allocate memory"), StoreError),
        (lmdb.PanicError("mdb_txn_begin: MDB_PANIC"), lmdb.PanicError),
    ],
)
def test_lmdb_errors_get_their_names(error: lmdb.Error, expected: type[Exception]) -> None:
    """Each lmdb.Error leaves as the storage error that says what to do; a panic leaves as it is."""
    with pytest.raises(expected) as caught, lmdb_errors():
        raise error
    assert type(caught.value) is expected


def test_the_reserve_is_a_share_of_the_map(tmp_path: Path) -> None:
    """The reserve is 5 % and at least 256 MiB, and a quarter of a map too small for that."""
    store = Store.open(tmp_path / "store", map_size_bytes=1 << 28, mode="write")
    try:
        reserves = {
            size: Store(store.env, store.path, size, None, lambda: None).reserve_bytes
            for size in (1 << 26, 1 << 31, 1 << 36)
        }
        assert reserves == {1 << 26: 1 << 24, 1 << 31: RESERVE_BYTES_MIN, 1 << 36: (1 << 36) // 20}
    finally:
        store.close()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Within the block a file's write stops short at this size, as on a disk that is full there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("free_bytes", "expected"), [(0, StoreFull), (disk.LOW_BYTES, StoreFailed)])
def test_a_short_write_means_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, expected: type[Exception]
) -> None:
    """LMDB says EIO for a short write: that is StoreFull on a full disk, else StoreFailed; the next group is whole."""
    path = tmp_path / "store"
    monkeypatch.setattr(disk, "free_bytes", lambda path: free_bytes)
    monkeypatch.setattr(disk, "growth_bytes", lambda file: math.inf)  # the limit stands for the disk here
    body = random.Random(1).randbytes(1_000_000)
    with opened(path) as (_, writer):
        writer.write(Group([numbered(1, 1)]))
        with files_up_to((path / "data.mdb").stat().st_size + 100_001), pytest.raises(StoreError) as caught:
            writer.write(Group([numbered(2, 1, body=body)]))
        assert type(caught.value) is expected
        assert os.strerror(errno.EIO) in str(caught.value)
        writer.write(Group([numbered(2, 1, body=body)]))
    report = verify(path)
    assert (report.problems, report.events) == ([], 2)


def test_a_failed_read_is_not_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what writes can find the disk full; and where that cannot be asked, the error is the disk's own."""
    monkeypatch.setattr(disk, "free_bytes", lambda path: 0)
    error = lmdb.Error(f"mdb_get: {os.strerror(errno.EIO)}")
    with pytest.raises(StoreFailed), lmdb_errors():
        raise error
    monkeypatch.undo()
    with pytest.raises(StoreFailed), lmdb_errors(Path("/nowhere")):
        raise error


def test_a_full_disk_fails_the_first_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for LMDB's lock file that is StoreFull; LMDB would store into it and end by SIGBUS."""

    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreFull, match=r"lock\.mdb cannot be made: No space left"):
        Store.open(tmp_path / "store", map_size_bytes=MAP_SIZE_BYTES, mode="write")
    monkeypatch.undo()
    filled(tmp_path / "store", [Group([numbered(1, 1)])])


def test_the_lock_file_has_no_holes(tmp_path: Path) -> None:
    """The lock file has no holes, also where a crash left one that is nothing but a hole."""
    path = tmp_path / "store"
    path.mkdir()
    (path / "lock.mdb").touch()
    os.truncate(path / "lock.mdb", disk.LOCK_FILE_BYTES)
    with opened(path):
        found = (path / "lock.mdb").stat()
        assert (found.st_size, found.st_blocks * 512 >= found.st_size) == (disk.LOCK_FILE_BYTES, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of its own in somebody's directory")
def test_files_of_root_go_to_the_owner(tmp_path: Path) -> None:
    """A command that root runs in a service's store leaves nothing there that the service cannot open."""
    path = tmp_path / "store"
    filled(path, [Group([numbered(1, 3)])])
    for each in (path, *path.iterdir()):
        os.chown(each, 65534, 65534)
    (path / "lock.mdb").unlink()
    Store.open(path, mode="read").close()
    assert owners(path) == {65534}
    for name in ("lock.mdb", "writer.lock"):
        (path / name).unlink()
    store = Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
    Journal(store).close()
    find_suspects(store)
    store.close()
    assert owners(path) == {65534}
    old = old_store(tmp_path)
    for each in (old, *old.iterdir()):
        os.chown(each, 65534, 65534)
    migrate(old, MAP_SIZE_BYTES, lambda *_: None)
    Store.open(old, mode="read").close()
    assert owners(old) == {65534}


def owners(path: Path) -> set[int]:
    return {each.lstat().st_uid for each in path.iterdir()}
