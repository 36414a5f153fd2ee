"""What becomes of a damaged store: the start, reading all of it, going on, and `verify`, each in a process of its own.

    python -m tests.torture.examined DIRECTORY SEED CASES

prints a JSON line for each case. The process that forks has imported all and has no threads, so that a case takes
some milliseconds.
"""

import io
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing, redirect_stdout
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from server.flow.suspects import find_suspects
from storage.check.verify import main as verify
from storage.dedup.index import DedupIndex
from storage.errors import StoreError
from storage.journal.journal import Journal
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.write.writer import Writer
from tests.support.store import MAP_SIZE_BYTES
from tests.support.waiting import HANG_SECONDS
from tests.torture import victim
from tests.torture.harm import harm

GROUPS_MORE = 6
"""Written into a damaged store that was opened: they take free pages."""

Say = Callable[..., None]


def main(directory: Path, seed: int, cases: int) -> None:
    whole, older = directory / "whole", directory / "older"
    known = victim.make(whole, older, Random(seed))
    for case in range(cases):
        damaged = directory / "damaged"
        shutil.copytree(whole, damaged)
        what = harm(damaged, older, Random(f"{seed} {case}"))
        found = in_a_child(partial(_serve, damaged, known, case))
        if found.keys() & {"signal", "missing", "missing_later"}:
            found["is_clean"] = verified(damaged)
        sys.stdout.write(json.dumps({"harm": what, "events": len(known), **found}) + "\n")
        shutil.rmtree(damaged)


def start(path: Path) -> tuple[Store, Writer]:
    """Do what the start of a server does with its store."""
    store = Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")
    writer = Writer(store)
    Journal(store)
    find_suspects(store)
    reader = Reader(store)
    DedupIndex(victim.WINDOW_MS, directory=path).rebuild(reader.processed_since(0), 0)
    reader.skipped({name: totals.oldest for name, totals in writer.totals.items() if totals.pending})
    return store, writer


def _serve(path: Path, known: victim.Content, seed: int, say: Say) -> None:
    """Start, read all, go on, read all again; `say` hears how far that came and what is missing."""
    store, writer = start(path)
    with closing(store):
        say(stage="reading")
        found = victim.content(store)
        if missing := [number for number, event in known.items() if found.get(number) != event]:
            say(missing=missing)
        say(stage="writing")
        random = Random(seed)
        for _ in range(GROUPS_MORE):
            victim.go_on(store, writer, random)
        say(stage="reading again")
        later = {number: event[:-1] for number, event in victim.content(store).items()}
        if missing := [number for number, event in found.items() if later.get(number) != event[:-1]]:
            say(missing_later=missing)


def in_a_child(work: Callable[[Say], None]) -> dict[str, Any]:
    """Return what it said in a child, and how that ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _run(work, writing)
    os.close(writing)
    said: dict[str, Any] = {}
    with os.fdopen(reading) as lines:
        for line in lines:
            said |= json.loads(line)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said | ({"signal": signal.Signals(-status).name} if status < 0 else {})


def _run(work: Callable[[Say], None], writing: int) -> None:
    """Do it, say what it raised, and end this process."""

    def say(**line: object) -> None:
        os.write(writing, json.dumps(line).encode() + b"\n")

    signal.alarm(HANG_SECONDS)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # LMDB's last words
    try:
        say(stage="the start")
        work(say)
        say(stage="the end")
    except StoreError as error:
        say(refused=f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001 - what a server would end with a traceback by is the finding
        say(failed=traceback.format_exc(limit=-4))
    finally:
        os._exit(0)


def verified(path: Path) -> bool:
    """Return whether `verify` finds nothing."""

    def work(say: Say) -> None:
        with redirect_stdout(io.StringIO()):
            say(is_clean=verify([str(path)]) == 0)

    found: Mapping[str, object] = in_a_child(work)
    return found.get("is_clean") is True and "signal" not in found


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
