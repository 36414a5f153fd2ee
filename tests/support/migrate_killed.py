"""`tidegate migrate` killed before each change of a file: `migrate_killed.py STORE WORK`.

A process for each change ends right before it, in a copy of STORE below the directory WORK. What it left is looked at;
then the command runs to its end, and what that made is compared with what one made that nobody killed. Prints a JSON
line for each: what was about to be done, what the store was then, and whether all is right in the end.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from storage.check import verify
from storage.check.audit import Audit
from storage.codec.records import number_of
from storage.codec.status_rows import decode_statuses
from storage.lmdb_store.environment import Store
from storage.lmdb_store.making import DATABASES
from storage.migrate import convert

CHANGES = {"os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate"}
MAP_SIZE_BYTES = 2**24


class Killer:
    """Ends this process before the n-th change, and tells the parent what it was."""

    def __init__(self) -> None:
        self.left = 0
        self.tell = -1

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if self.left and (event in CHANGES or event == "commit" or writes):
            self.left -= 1
            if not self.left:
                os.write(self.tell, f"{event} {Path(str(arguments[0])).name}".encode())
                os._exit(9)


def main(original: Path, work: Path) -> None:
    convert.COMMIT_BYTES = 2**14
    convert.verify = verified  # type: ignore[attr-defined]  # in this process, for it is run so often
    killer = Killer()
    sys.addaudithook(killer)
    commits = Store.write_transaction

    @contextmanager
    def write_transaction(store: Store) -> Iterator[Any]:
        with commits(store) as txn:
            yield txn
            killer("commit", (store.path,))

    Store.write_transaction = write_transaction  # type: ignore[assignment, method-assign]
    whole = shutil.copytree(original, work / "whole")
    convert.migrate(whole, MAP_SIZE_BYTES, said)
    expected = content(whole)
    number, about = 0, "it"
    while about:
        number += 1
        path = shutil.copytree(original, work / str(number))
        about = in_child(killer, number, lambda: convert.migrate(path, MAP_SIZE_BYTES, said))  # noqa: B023 - at once
        was_old = convert.is_old(path)
        right = was_old or content(path) == expected
        if was_old:
            convert.migrate(path, MAP_SIZE_BYTES, said)
        convert.clear(path)
        right = right and content(path) == expected
        for name in ("data.mdb", "journal"):
            right = right and (path / f"{name}.format-1").read_bytes() == (original / name).read_bytes()
        print(json.dumps({"about": about, "was_old": was_old, "right": right}))  # noqa: T201
        shutil.rmtree(path)


def in_child(killer: Killer, number: int, run: Callable[[], object]) -> str:
    """Before which change it was killed; nothing if it was not."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        killer.left, killer.tell = number, writable
        run()
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        about = pipe.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (9 if about else 0)
    return about


def content(path: Path) -> str:
    """A digest of all that the store holds, but for the store's time."""
    found = hashlib.blake2b()
    with closing(Store.open(path, mode="read")) as store, store.read_transaction() as txn:
        for name in DATABASES:
            for key, value in txn.cursor(db=getattr(store, name)):
                if name == "statuses":
                    rows = decode_statuses(bytes(key), bytes(value))
                    rows["store_ms"] = 0
                    found.update(f"{number_of(b'statuses', bytes(key))} {rows.tolist()}".encode())
                elif key != b"time":
                    found.update(bytes(key) + bytes(value))
    return found.hexdigest()


def verified(path: Path, on_progress: Callable[[str, int], None] | None = None) -> verify.Report:
    report = verify.Report()
    assert on_progress
    with closing(Store.open(path, mode="read")) as store:
        audit = Audit(store, report.problems.append, on_progress)
        audit.run()
    report.events = audit.recount.events
    return report


def said(step: str, done: int, total: int) -> None:
    """Nobody listens."""


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(Path(sys.argv[1]), Path(sys.argv[2]))
