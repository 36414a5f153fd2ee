"""A damaged store: wrong bits, lost, misplaced and missing pages, in any of its files.

A case is good if everything acknowledged is there, or if it is said that it is not: at the start, when it is read, or
by `verify`. LMDB may end the process by a signal over a damaged page, as `docs/operations.md` says; then `verify` must
find it.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from storage.lmdb_store.environment import Store
from tests.support.server import ROOT, Children
from tests.torture import victim
from tests.torture.fault import Fault, Round
from tests.torture.harm import harm

CASES = 25
KEEPS_ALL = "[retention]\narchive_hours = 0\nreceipt_hours = 0\n"
"""The times in this store are old ones: what is over would leave."""
SIGNALS = {"SIGABRT", "SIGBUS", "SIGSEGV"}
SIGNALS_CODES = {-signal.Signals[name] for name in SIGNALS}


def in_a_fork(seed: int, directory: Path) -> Round:
    """Do it to copies of one store, with the product's own start and readers, each case in a fork."""
    arguments = [sys.executable, "-m", "tests.torture.examined", str(directory), str(seed), str(CASES)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    lost = sum(_lost(case) for case in cases)
    problems = tuple(f"{case['harm']}: {words}" for case in cases if (words := _problem(case)))
    return Round(sum(case["events"] for case in cases), lost, problems=problems, cases=len(cases))


def _lost(case: Mapping[str, Any]) -> int:
    """Return how many events are missing and nobody says so."""
    missing = {*case.get("missing", ()), *case.get("missing_later", ())}
    return len(missing) if case.get("is_clean") and "refused" not in case else 0


def _problem(case: Mapping[str, Any]) -> str:
    if "failed" in case:
        return f"at {case['stage']}: {case['failed']}"
    if "signal" in case and (case["is_clean"] or case["signal"] not in SIGNALS):
        return f"{case['signal']} at {case['stage']}, and verify finds nothing"
    return f"{_lost(case)} events are missing, and verify finds nothing" if _lost(case) else ""


def served(seed: int, directory: Path) -> Round:
    """A server that is started on it serves everything, or says in one line what is damaged, and exits 1."""
    random = Random(seed)
    with Children(directory) as children:
        child = children(KEEPS_ALL)
        known = victim.make(child.store, directory / "older", random)
        what = harm(child.store, directory / "older", random)
        child.start_if_it_can()
        code = child.stop() if child.port else child.wait()
        said = [*child.errors, *(line for line in child.lines if line["level"] == "error")]
        is_clean = child.cli("verify").returncode == 0
        if child.port:
            lost = len(_missing(known, child.store)) if is_clean else 0
            return Round(len(known), lost, problems=(f"{what}: exit {code}: {said}",) if code or said else ())
        is_said = (code == 1 and len(said) == 1) or (code in SIGNALS_CODES and not is_clean)
        return Round(len(known), problems=() if is_said else (f"{what}: exit {code}: {said}",))


def _missing(known: victim.Content, path: Path) -> list[int]:
    with closing(Store.open(path, mode="read")) as store:
        found = victim.content(store)
    return [number for number, event in known.items() if found.get(number) != event]


FAULTS = (
    Fault("damage to any file of the store", in_a_fork, long=200, unit="stores"),
    Fault("damage met by a server's start", served, long=200, short=0),
)
