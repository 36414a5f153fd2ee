"""File systems that cannot keep a store: what they refuse is said with their name, and what to do."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Literal

import lmdb
import pytest

from storage import sync
from storage.errors import StoreError, StoreFailed, StoreLocked
from storage.lmdb_store import file_system
from storage.lmdb_store.environment import Store
from storage.model import Group
from tests.support.store import MAP_SIZE_BYTES, filled, numbered

WAY_OUT = r"\(9p\) cannot keep a store.*: .*{}.*; set storage\.path to a directory of a local one"


@pytest.fixture(autouse=True)
def a_strange_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_system, "name_of", lambda path: "9p")


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENODEV, errno.ENOLCK])
def test_what_cannot_be_mapped_is_named(tmp_path: Path, mode: Literal["read", "write"], number: int) -> None:
    """Where LMDB can map no file, or lock none, it is the file system that is at fault."""
    filled(tmp_path, [Group([numbered(1, 1)])])

    def refused(*_: object, **__: object) -> None:
        raise lmdb.Error(f"{tmp_path}: {os.strerror(number)}")

    with pytest.raises(StoreError, match=WAY_OUT.format(os.strerror(number))):
        Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode=mode, open_environment=refused)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
def test_directories_must_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where the flush of a directory is refused, no store is made: a power cut could take its name."""

    def refused(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sync, "flush_directory", refused)
    for _ in range(2):
        with pytest.raises(StoreError, match=WAY_OUT.format(os.strerror(number))):
            Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode="write")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_lock_that_is_refused_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Where no file can be locked that is said; no other process is named that is not there."""

    def refused(file: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(StoreError, match=WAY_OUT.format(os.strerror(number))) as caught:
        Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
    assert not isinstance(caught.value, StoreLocked)


def test_other_errors_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk is not the file system's, and is a StoreError as well."""

    def broken(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def failing(*_: object, **__: object) -> None:
        raise lmdb.Error(f"{tmp_path}: {os.strerror(errno.EIO)}")

    monkeypatch.setattr(sync, "flush_directory", broken)
    with pytest.raises(StoreError, match=r"^\[Errno 5\]"):
        Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
    with pytest.raises(StoreFailed):
        Store.open(tmp_path, map_size_bytes=MAP_SIZE_BYTES, mode="read", open_environment=failing)
