"""A store seen from elsewhere: a read-only mount, another set of process numbers, as between containers."""

import json
import os
from pathlib import Path

import pytest

from storage.errors import StoreLocked
from storage.lmdb_store import lock
from storage.lmdb_store.environment import Store
from storage.model import Group
from tests.support.namespaces import needs_mounts, on_read_only_mount, tidegate
from tests.support.store import MAP_SIZE_BYTES, filled, numbered, opened

COMMANDS = (("receipt", "demo", "id-1"), ("event", "demo", "id-1"), ("delivery", "x"), ("dead",), ("verify",))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A configuration, and a store `data` with three events."""
    (tmp_path / "tidegate.toml").write_text('[sources.demo]\ntype = "webhook"\ntokens = ["hunter2hunter2"]\n')
    filled(tmp_path / "data", [Group([numbered(1, 3)])])
    return tmp_path


@needs_mounts
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_read_only_mount_sees_the_writer(directory: Path, command: tuple[str, ...]) -> None:
    """Where a store cannot be written, while a writer lives elsewhere, no command reads it without a lock."""
    with opened(directory / "data"):
        done = on_read_only_mount(directory, *tidegate(directory, *command))
    assert done.returncode == 1
    said = json.loads(done.stdout)["problems"][0] if command[0] == "verify" else done.stderr
    assert f"a server writes to the store in {directory / 'data'}, where nothing can be written from here" in said
    assert "ask the server's admin side" in said


@needs_mounts
@pytest.mark.parametrize("beside", [(), ("lock.mdb",), ("lock.mdb", "writer.lock")])
def test_a_read_only_copy_is_read(directory: Path, beside: tuple[str, ...]) -> None:
    """On a read-only mount without a writer, a store is read and verified; and a copy without its lock files."""
    for name in beside:
        (directory / "data" / name).unlink()
    done = on_read_only_mount(directory, *tidegate(directory, "verify"))
    assert (json.loads(done.stdout)["ok"], done.stderr) == (True, "")


def test_no_writer_starts_beside_such_a_reader(tmp_path: Path) -> None:
    """While a process reads without a place in lock.mdb no writer starts, and the words say why."""
    path = tmp_path / "store"
    filled(path, [])
    reading = lock.keep_writers_away(path)
    assert reading is not None
    with pytest.raises(StoreLocked, match="another process reads, without writing, the store"):
        Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
    os.close(reading)
    Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write").close()
