"""The `tidegate` command with something of its world replaced: `faults.py [OPTIONS] COMMAND …`.

`--waits`: the seconds between attempts. `--faults`: while this file exists, every commit of the store fails as it says:
`full` (the map is full), `no space` (the disk is full), `meta page` (the disk is full for that one: nothing begins any
more in this environment), `eio` (fsync failed), `short write` (as a full disk does it), `other`, `bug` (our own); and
the journal takes nothing, unless `--journal-holds`. `--no-journal`: none can be made. `--clocks`: this file says what
the clocks of the host say, see `Clocks`. `--eager-retention`: what is over leaves at once. `--broken-intake`: a body
that is an object with `fault` is our bug. `--every-line`: no line of the log is suppressed.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lmdb

import server.cli.main
from server.base import log
from server.base.source import Source
from server.flow import attempts, retention
from server.intake import normalise
from server.intake.items import Row
from server.intake.parse import Body
from server.intake.places import Places
from storage.journal import journal
from storage.journal.journal import Journal
from storage.lmdb_store import disk
from storage.lmdb_store.environment import Store
from storage.model import Append
from tests.support import clocks

EAGER_SECONDS = 0.02
"""Between two passes of retention."""

FAULTS: dict[str, Exception] = {
    "full": lmdb.MapFullError("mdb_put: Environment mapsize limit reached"),
    "meta page": lmdb.Error(f"mdb_txn_commit: {os.strerror(errno.ENOSPC)}"),
    "no space": lmdb.Error(f"mdb_txn_commit: {os.strerror(errno.ENOSPC)}"),
    "eio": lmdb.Error(f"mdb_txn_commit: {os.strerror(errno.EIO)}"),
    "short write": lmdb.Error(f"mdb_txn_commit: {os.strerror(errno.EIO)}"),
    "other": lmdb.Error("mdb_txn_commit: something else"),
    "bug": ZeroDivisionError("a bug"),
}


class Transaction:
    """A write transaction whose commit fails while the file says so."""

    def __init__(self, inner: Any, faults: Path, environment: "Environment") -> None:
        self._inner = inner
        self._faults = faults
        self._environment = environment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Any:
        return self._inner.__enter__()

    def __exit__(self, *error: object) -> None:
        self._inner.__exit__(*error)

    def commit(self) -> None:
        if self._faults.exists():
            fault = self._faults.read_text()
            disk.free_bytes = lambda path: 0 if fault == "short write" else 2**40
            self._environment.failed = fault == "meta page"
            raise FAULTS[fault]
        self._inner.commit()


class Environment:
    """An LMDB environment that gives such transactions."""

    def __init__(self, inner: Any, faults: Path) -> None:
        self._inner = inner
        self._faults = faults
        self.failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def begin(self, *args: Any, **options: Any) -> Any:
        if self.failed:
            raise lmdb.PanicError("mdb_txn_begin: MDB_PANIC")
        found = self._inner.begin(*args, **options)
        return Transaction(found, self._faults, self) if options.get("write") else found


def no_room(file: int, size: int) -> None:
    raise OSError("no room")


def break_journal(faults: Path) -> None:
    append = Journal.append

    def broken(self: Journal, appends: Sequence[Append]) -> bool:
        return not faults.exists() and append(self, appends)

    Journal.append = broken  # type: ignore[method-assign]


def break_intake() -> None:
    single_item = normalise.single_item

    def broken(source: Source, places: Places, body: Body) -> Row | str:
        if isinstance(body.value, dict) and "fault" in body.value:
            raise ZeroDivisionError("a bug")
        return single_item(source, places, body)

    normalise.single_item = broken


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--waits", type=lambda text: tuple(map(float, text.split(","))))
    parser.add_argument("--faults", type=Path)
    parser.add_argument("--journal-holds", action="store_true")
    parser.add_argument("--no-journal", action="store_true")
    parser.add_argument("--broken-intake", action="store_true")
    parser.add_argument("--every-line", action="store_true")
    parser.add_argument("--clocks", type=Path)
    parser.add_argument("--eager-retention", action="store_true")
    options, command = parser.parse_known_args()
    if options.broken_intake:
        break_intake()
    if options.every_line:
        log.THROTTLE_SECONDS = 0
    if options.no_journal:
        journal._allocate = no_room
    if options.waits:
        attempts.WAIT_SECONDS = options.waits
    if options.eager_retention:
        retention.PASS_SECONDS = EAGER_SECONDS
    if options.faults:
        original = Store.open

        def open_store(path: Path, **rest: Any) -> Store:
            def environment(*args: Any, **more: Any) -> Environment:
                return Environment(lmdb.open(*args, **more), options.faults)

            return original(path, open_environment=environment, **rest)

        Store.open = open_store  # type: ignore[method-assign]
        if not options.journal_holds:
            break_journal(options.faults)
    sys.argv = ["tidegate", *command]
    with clocks.faked(options.clocks) if options.clocks else nullcontext():
        sys.exit(server.cli.main.main())


if __name__ == "__main__":
    main()
