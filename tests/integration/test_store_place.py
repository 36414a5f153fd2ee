"""Where a store may be: `check` and `serve` say the same of a directory, and name what to do."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import StoreError
from storage.lmdb_store.environment import Store
from storage.lmdb_store.place import unusable
from storage.model import Group
from tests.support.namespaces import ROOT, needs_mounts, on_read_only_mount
from tests.support.store import MAP_SIZE_BYTES, filled, numbered, opened

USER = 65534

TRY = """
import os, sys
from pathlib import Path
from storage.errors import StoreError
from storage.lmdb_store.environment import Store
from storage.lmdb_store.place import unusable
if len(sys.argv) > 2:
    os.setgroups([int(sys.argv[2])])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
path = Path(sys.argv[1])
print(unusable(path))
try:
    Store.open(path, map_size_bytes=1 << 28, mode="write").close()
    print(None)
except StoreError as error:
    print(error)
"""
"""What is said of the place, and then what the opening says."""

as_user = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be another user")


def said(path: Path, *user: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(path), *user], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


READ = """
import os, sys
from pathlib import Path
from storage.errors import StoreError
from storage.check.verify import verify
from storage.lmdb_store.environment import Store
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
try:
    if sys.argv[3] == "verify":
        verify(Path(sys.argv[1]))
    else:
        Store.open(Path(sys.argv[1]), mode="read").close()
    print("read")
except StoreError as error:
    print(error)
"""


def read_as_user(path: Path, how: str = "open") -> str:
    command = [sys.executable, "-c", READ, str(path), str(USER), how]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A directory that another user can come to."""
    for each in tmp_path.parents:
        if each.stat().st_mode & 0o001 == 0:
            each.chmod(each.stat().st_mode | 0o011)
    tmp_path.chmod(0o711)
    made = tmp_path / "volume"
    made.mkdir()
    return made


@as_user
def test_a_volume_of_a_group_names_the_way(volume: Path) -> None:
    """A volume that belongs to root and is written through its group cannot be made private; one below it can."""
    os.chown(volume, 0, USER)
    volume.chmod(0o2775)
    first, second = said(volume, str(USER))
    assert first == second
    assert first.endswith(f"set storage.path to a directory below it, such as {volume / 'store'}")
    assert said(volume / "store", str(USER)) == ["None", "None"]
    assert (volume / "store").stat().st_mode & 0o7777 == 0o700


def owned_by_root(volume: Path) -> Path:
    volume.chmod(0o755)
    return volume


def below_roots(volume: Path) -> Path:
    return owned_by_root(volume) / "data"


def with_a_file_of_roots(volume: Path) -> Path:
    os.chown(volume, USER, USER)
    (volume / "lock.mdb").touch(0o600)
    return volume


def that_nobody_may_enter(volume: Path) -> Path:
    volume.chmod(0o700)
    return volume / "data"


@as_user
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (owned_by_root, "belongs to another user: run this as that user, or give it to this one (chown -R)"),
        (below_roots, "cannot be written to by this user: make "),
        (
            with_a_file_of_roots,
            "lock.mdb cannot be written to by this user: give the directory to this user (chown -R)",
        ),
        (that_nobody_may_enter, "cannot be written to by this user"),
    ],
)
def test_check_and_start_say_the_same(volume: Path, make: Callable[[Path], Path], words: str) -> None:
    """A directory, or a file in it, that is another user's is refused with one sentence, which names it."""
    first, second = said(make(volume), str(USER))
    assert first == second
    assert words in first
    assert str(volume) in first


@as_user
@pytest.mark.parametrize("mode", [0o711, 0o311])
def test_a_parent_need_not_be_listed(volume: Path, mode: int) -> None:
    """A parent that may be entered, and written to, but not read does for a store that is there, and for a new one."""
    store = volume / "store"
    os.chown(volume, USER, USER)
    volume.chmod(mode)
    assert said(store, str(USER)) == ["None", "None"]
    assert said(store, str(USER)) == ["None", "None"]


@as_user
def test_an_own_directory_is_made_private(volume: Path) -> None:
    """Whatever the mode of an own directory, it is a place, and is 0700 afterwards."""
    os.chown(volume, USER, USER)
    volume.chmod(0o055)
    assert said(volume, str(USER)) == ["None", "None"]
    assert volume.stat().st_mode & 0o777 == 0o700


@as_user
def test_a_lock_file_of_roots_is_named(volume: Path) -> None:
    """Who may not write lock.mdb reads a stopped store, and is told its name beside a writer."""
    store = volume / "store"
    with opened(store):
        for each in (volume, store, *store.iterdir()):
            os.chown(each, USER, USER)
        os.chown(store / "lock.mdb", 0, 0)
        assert read_as_user(store).startswith(f"{store / 'lock.mdb'} cannot be written from here, and a server writes")
    assert read_as_user(store) == "read"


@as_user
@pytest.mark.parametrize("how", ["open", "verify"])
def test_another_users_store_names_who_may(volume: Path, how: str) -> None:
    """Who may not enter the store is told who may, by look-ups and `verify` alike."""
    store = volume / "store"
    with opened(store):
        pass
    words = f"{store / 'data.mdb'} cannot be reached by this user: run this as the user that the store belongs to, or "
    assert read_as_user(store, how) == f"{words}as root"


@needs_mounts
def test_a_read_only_mount_is_no_place(tmp_path: Path) -> None:
    """A directory on a read-only mount is refused by both with one sentence."""
    done = on_read_only_mount(tmp_path, sys.executable, "-c", TRY, str(tmp_path / "store"))
    first, second = done.stdout.splitlines()
    assert first == second == f"{tmp_path} is on a file system that is mounted read-only"


def directory(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()


def link(file: Path) -> None:
    file.rename(file.with_suffix(".moved"))
    file.symlink_to(file.with_suffix(".moved"))


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("lock.mdb", directory, "is not a regular file"),
        ("lock.mdb", link, "is not a regular file"),
        ("lock.mdb", loop, "is not a regular file"),
        ("writer.lock", directory, "is not a regular file"),
        ("data.mdb", directory, "is not a regular file"),
        ("data.mdb", loop, os.strerror(errno.ELOOP)),
    ],
)
def test_what_is_no_file_is_named(tmp_path: Path, name: str, change: Callable[[Path], None], words: str) -> None:
    """Where a file of the store is something else, check, start and reading commands name it."""
    filled(tmp_path, [Group([numbered(1, 1)])])
    change(tmp_path / name)
    for mode in ("read", "write"):
        with pytest.raises(StoreError, match=words) as caught:
            Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode=mode)
        assert str(caught.value).startswith(str(tmp_path / name))
    assert unusable(tmp_path) == str(caught.value)


def test_the_data_may_be_a_link(tmp_path: Path) -> None:
    """data.mdb may be a link to a file on another disk."""
    filled(tmp_path, [Group([numbered(1, 1)])])
    link(tmp_path / "data.mdb")
    assert unusable(tmp_path) is None
    Store.open(tmp_path, mode="read").close()


def test_a_chmod_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root in a container, to whom a volume does not belong either, is told the same as any other user."""

    def refused(path: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    monkeypatch.setattr(Path, "chmod", refused)
    with pytest.raises(StoreError, match=r"set storage\.path to a directory below it"):
        Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
