"""A store that was damaged: the server says so in one line and ends with 1, whenever it finds out.
Never a traceback.
"""

import http.client
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from storage.check.verify import verify
from storage.codec.records import key_of
from storage.errors import StoreDamaged
from storage.lmdb_store.environment import Store
from storage.model import Group
from storage.statuses import EventStatus
from tests.support.client import item
from tests.support.config import source
from tests.support.server import Children
from tests.support.store import MAP_SIZE_BYTES, filled, numbered, opened, outcome

WORKED = source("worked", processor="processors:plain")


def overwrite(path: Path, database: str, number: int) -> None:
    """A record that is not what was written."""
    with opened(path) as (store, _), store.env.begin(write=True) as txn:
        txn.put(key_of(number), b"garbage", db=getattr(store, database))


def make_large(path: Path, groups: int = 20) -> int:
    """A store of some MB; the size of its file."""
    filled(path, [Group([numbered(number, 1, body=os.urandom(100_000))]) for number in range(1, groups + 1)])
    return (path / "data.mdb").stat().st_size


@pytest.mark.parametrize(
    ("database", "status"), [("facts", None), ("bodies", None), ("statuses", EventStatus.PROCESSED)]
)
def test_damage_found_while_it_runs(children: Children, database: str, status: EventStatus | None) -> None:
    """Whether feeding from disk or the rebuilding of the index meets it: one line names the store, the place and
    `tidegate verify`."""
    child = children(WORKED)
    groups = [Group([numbered(1, 3, source_id="worked")])]
    if status is not None:
        groups.append(Group(changes=[outcome(status, [1, 2, 3], source_id="worked")]))
    filled(child.store, groups)
    overwrite(child.store, database, 1)
    code, words = child.start_that_fails()
    found: list[dict[str, Any]] = [json.loads(line) for line in words.splitlines()]
    assert code == 1
    [said] = [line for line in found if line["level"] == "error"]
    assert said["event"] == "the store is damaged: run tidegate verify"
    assert said["path"] == str(child.store)
    assert f"{database}, key 1" in said["error"]
    assert "exception" not in said


def test_any_other_end_is_one_line(children: Children) -> None:
    """A fault of our own ends the server with exit 1 and one line, its traceback in a field of it."""
    child = children(WORKED, launch=("--faults", "faults"))
    child.start()
    (child.directory / "faults.new").write_text("bug")
    (child.directory / "faults.new").rename(child.directory / "faults")
    with pytest.raises((OSError, http.client.HTTPException)):
        child.post("worked", item("a"))
    assert child.wait() == 1
    assert child.errors == []
    said = child.wait_for_line("the server has failed")
    assert (said["level"], "ZeroDivisionError" in said["exception"]) == ("error", True)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_file_that_was_cut_is_refused(children: Children, share: float) -> None:
    """A server does not start on it, which would end by SIGBUS; it names the store and `tidegate verify`."""
    child = children(WORKED)
    size = make_large(child.store)
    os.truncate(child.store / "data.mdb", int(size * share))
    code, words = child.start_that_fails()
    assert code == 1
    [said] = words.splitlines()
    assert said.startswith("tidegate: the store is damaged: ")
    assert str(child.store) in said
    assert said.endswith("run `tidegate verify`")
    for command in (("receipt", "demo", "id-1"), ("requeue", "demo", "--all")):
        done = child.cli(*command)
        assert (done.returncode, done.stderr) == (1, said + "\n")


def test_pages_that_hold_nothing_may_be_missing(tmp_path: Path) -> None:
    """A file that lacks only free pages at its end is a whole one; where one in use is missing, it is none."""
    path = tmp_path / "store"
    make_large(path)
    with opened(path) as (store, _):
        with store.env.begin(write=True) as txn:
            txn.put(key_of(10**6), os.urandom(400_000), db=store.results)
        grown = (path / "data.mdb").stat().st_size
        with store.env.begin(write=True) as txn:
            txn.delete(key_of(10**6), db=store.results)
        with store.env.begin(write=True) as txn:
            txn.put(key_of(10**6), b"small", db=store.results)
    os.truncate(path / "data.mdb", grown - 200_000)
    Store.open(path, mode="read").close()
    Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write").close()
    os.truncate(path / "data.mdb", 1_000_000)
    with pytest.raises(StoreDamaged, match="its end is missing"):
        Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")


def test_an_emptied_file_is_a_loss(tmp_path: Path) -> None:
    """Where there was a store an empty file is refused, and left as it is; without its lock file it is a new one."""
    path = tmp_path / "store"
    filled(path, [Group([numbered(1, 1)])])
    os.truncate(path / "data.mdb", 0)
    for mode in ("read", "write"):
        with pytest.raises(StoreDamaged, match="is empty"):
            Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode=mode)
    assert (path / "data.mdb").stat().st_size == 0
    [problem] = verify(path).problems
    assert problem == f"data.mdb in {path} is empty: what it held is gone"
    shutil.rmtree(path)
    with opened(path) as (store, _):
        assert store.is_new
    with opened(path) as (store, _):
        assert not store.is_new


def test_a_new_store_is_said(children: Children) -> None:
    """The start that makes a store says so, with its path; the next one does not."""
    child = children(WORKED)
    child.start()
    assert child.wait_for_line("new store")["path"] == str(child.store)
    assert child.stop() == 0
    child.lines.clear()
    child.start()
    assert child.lines_of("new store") == []
