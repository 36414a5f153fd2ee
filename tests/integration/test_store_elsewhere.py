"""A store seen from elsewhere: a read-only mount, another set of process numbers, as between containers."""

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.child import free_port
from storage.errors import StoreLocked
from storage.lmdb_store import lock
from storage.lmdb_store.environment import Store
from storage.lmdb_store.transactions import PLACES_KEPT
from storage.model import Group
from tests.support.config import source
from tests.support.namespaces import (
    ROOT,
    needs_mounts,
    needs_processes,
    on_read_only_mount,
    tidegate,
    with_process_number,
    without_temporary_files,
)
from tests.support.readers import other_readers
from tests.support.server import Child, installed_command
from tests.support.store import MAP_SIZE_BYTES, filled, numbered, opened

COMMANDS = (("receipt", "demo", "id-1"), ("verify",))

START = """
import sys
from pathlib import Path
from storage.lmdb_store import transactions
from storage.lmdb_store.environment import Store
transactions.PLACE_WAIT_SECONDS = 0
Store.open(Path(sys.argv[1]), map_size_bytes=1 << 28, mode="write")
"""

TAKE_PLACES_AND_DIE = """
import os, signal, sys, lmdb
env = lmdb.open(sys.argv[1], lib_version=0, readonly=True)
begun = [env.begin() for _ in range(3)]
print(len(begun), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

TRY_NUMBERS = """
import os, sys
from storage.errors import ProcessNumberTaken
from storage.lmdb_store.process_number import with_a_free_number
numbers = set()
def run():
    numbers.add(os.getpid())
    if len(numbers) <= int(sys.argv[1]):
        raise ProcessNumberTaken("taken")
    print(len(numbers), flush=True)
    if sys.argv[2]:
        os.kill(os.getpid(), int(sys.argv[2]))
    return 7
sys.exit(with_a_free_number(run))
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A configuration, and a store `data` with three events."""
    server = f'[server]\nadmin_bind = "127.0.0.1:{free_port()}"\n'  # where no other server of this machine answers
    (tmp_path / "tidegate.toml").write_text(server + '[sources.demo]\ntype = "webhook"\ntokens = ["hunter2hunter2"]\n')
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
    assert f"{directory / 'data' / 'lock.mdb'} cannot be written from here, and a server writes to the store" in said
    assert "ask the server's admin side" in said


@needs_mounts
@pytest.mark.parametrize("beside", [(), ("lock.mdb", "writer.lock")])
def test_a_read_only_copy_is_read(directory: Path, beside: tuple[str, ...]) -> None:
    """On a read-only mount without a writer, a store is read, and so is a copy without its lock files."""
    for name in beside:
        (directory / "data" / name).unlink()
    done = on_read_only_mount(directory, *tidegate(directory, "receipt", "demo", "id-1"))
    assert (json.loads(done.stdout)["number"], done.stderr) == (1, "")


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


@needs_processes
def test_a_command_may_have_the_servers_number(directory: Path) -> None:
    """A command whose process number is that of the server, in another container, reads all the same."""
    with opened(directory / "data"):
        number = os.getpid()
        receipt = with_process_number(number, *tidegate(directory, "receipt", "demo", "id-1"))
        assert (receipt.returncode, json.loads(receipt.stdout)["pending"], receipt.stderr) == (1, True, "")
        requeue = with_process_number(number, *tidegate(directory, "requeue", "demo", "--all"))
        assert "it cannot be asked" in requeue.stderr
        child = [sys.executable, "-m", "storage.check.verify", str(directory / "data")]
        verified = with_process_number(number, *child)
        assert json.loads(verified.stdout.splitlines()[-1])["summary"]["events"] == 3


@needs_processes
def test_a_start_says_whose_number_it_has(directory: Path) -> None:
    """A server does not run beside a reader with its own number, and says so after a wait."""
    reading = Store.open(directory / "data", mode="read")
    done = with_process_number(os.getpid(), sys.executable, "-c", START, str(directory / "data"))
    assert "StoreLocked: a process of another container that uses the store has the same process number" in done.stderr
    reading.close()
    done = with_process_number(os.getpid(), sys.executable, "-c", START, str(directory / "data"))
    assert (done.returncode, done.stderr) == (0, "")


@needs_processes
def test_a_writer_frees_what_its_number_left(directory: Path) -> None:
    """A writer with the number of one that was killed, while others read, leaves none of that one's places taken."""
    path = directory / "data"
    with other_readers(path, 1):
        killed = with_process_number(os.getpid(), sys.executable, "-c", TAKE_PLACES_AND_DIE, str(path))
        assert (killed.returncode, killed.stdout) == (128 + signal.SIGKILL, "3\n")
        with opened(path) as (store, _):
            taken = [line.split()[0] for line in str(store.env.readers()).splitlines()]
            assert taken.count(str(os.getpid())) == PLACES_KEPT


@pytest.mark.parametrize(
    ("taken", "ends_by", "code"), [(0, "", 7), (3, "", 7), (3, signal.SIGKILL, -9), (3, signal.SIGBUS, -7), (99, "", 1)]
)
def test_numbers_are_tried_until_one_is_free(taken: int, ends_by: str | int, code: int) -> None:
    """Forked children take other numbers, up to a bound; the first process ends as the one that could run does."""
    program = [sys.executable, "-c", TRY_NUMBERS, str(taken), str(ends_by and int(ends_by))]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout == ("" if code == 1 else f"{taken + 1}\n")
    assert ("ProcessNumberTaken" in done.stderr) == (code == 1)


@needs_mounts
def test_nothing_needs_temporary_files(tmp_path: Path) -> None:
    """Server and commands work where no directory for temporary files can be written, or is there."""
    command = without_temporary_files(tmp_path, *installed_command())
    with Child(tmp_path, source("demo"), command=command) as child:
        body = gzip.compress(b'{"inbound_event_id": "a", "text": "%s"}' % bytes(100_000).hex().encode())
        assert child.post("demo", body, headers={"content-encoding": "gzip"}).status == 200
        for name in ("verify", "check"):
            done = subprocess.run(
                [*command, name, "--config", str(child.config)], capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, "")
        assert child.stop() == 0
