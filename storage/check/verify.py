"""Check a store, in a child process: bad damage ends its reader by a signal, and that is a finding.

The child (`python -m storage.check.verify PATH`) prints JSON lines: `{"reading": [database, number]}` before each
block, `{"problem": "…"}`, and at last `{"summary": {…}}`; it exits 1 if it found a problem. The parent collects them.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from storage.check.audit import Audit
from storage.errors import ProcessNumberTaken, StoreError, StoreMissing, StoreOld
from storage.lmdb_store.child import command, environment
from storage.lmdb_store.environment import Store
from storage.lmdb_store.place import check_files
from storage.lmdb_store.process_number import with_a_free_number
from storage.lmdb_store.witness import Known, Reached, known
from storage.read.snapshot import Snapshots
from storage.statuses import ENDED, EXPIRED_OF, GONE_OF, REOPENED, RULES, EventStatus, grown, held
from storage.write.recovery import recover

PROBLEMS_MAX = 100
"""A store with more is not repaired by reading on."""


@dataclass(slots=True)
class Report:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    problems_left_out: int = 0
    events: int = 0
    deliveries: int = 0
    blocks: int = 0
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    """By source, in the order of their ids: its accounts, by the names that `/sources` has for them."""
    erasure_since_ms: int = 0
    """Since when something forgotten is to be overwritten, in ms of the wall clock; 0: nothing is. No problem."""

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(path: Path, on_progress: Callable[[str, int], None] | None = None) -> Report:
    """Check the store in the directory `path`; it may be in use, stopped, or a copy.

    `on_progress` gets database and number before each block is read. Raises StoreError if a file of it cannot be
    reached or is none, StoreMissing, StoreOld, and nothing else because of what is in the store.
    """
    check_files(path)
    if not (path / "data.mdb").exists():
        raise StoreMissing(f"there is no store in {path}")
    child = _start(path)
    try:
        return _collect(child, on_progress)
    finally:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the child. Never a traceback because of what is in the store."""
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        print("usage: python -m storage.check.verify PATH", file=sys.stderr)
        return 2
    problems = 0

    def problem(words: str) -> None:
        nonlocal problems
        problems += 1
        if problems <= PROBLEMS_MAX:
            _say(problem=words)

    try:
        _audit(Path(arguments[0]), problem, lambda: max(problems - PROBLEMS_MAX, 0))
    except ProcessNumberTaken:
        raise
    except StoreOld as error:
        _say(old=str(error))
    except StoreError as error:
        problem(str(error))
    except Exception as error:  # noqa: BLE001 - a damaged page may raise anything: a finding as well
        problem(f"the store cannot be read: {type(error).__name__}: {error}")
    return 1 if problems else 0


def _audit(path: Path, problem: Callable[[str], None], left_out: Callable[[], int]) -> None:
    _say(reading=["meta", 0])
    with closing(Store.open(path, mode="read", truncation_check=False)) as store:
        before = known(path, store.identity)
    left = 0
    try:
        left = recover(path)
        if left:
            problem(f"journal: {left} events are acknowledged and not in the store, and cannot be put there now")
    except StoreError as error:
        problem(str(error))
    store = Store.open(path, mode="read", truncation_check=False)
    try:
        with suppress(StoreError):  # the audit meets it again, and names it
            _check_end(store, before, problem, recovered=not left)
        audit = Audit(store, problem, lambda database, number: _say(reading=[database, number]))
        audit.run()
        since_ms = _erasure_since(store, problem)
    finally:
        store.close()
    counts = asdict(audit.recount)
    untold, statuses = counts.pop("untold"), counts.pop("statuses")
    for name in ("expired", "unlisted", "replays"):
        del counts[name]
    none = [0] * len(EventStatus)
    ids = sorted(statuses.keys() | untold)
    sources = {each: _accounts(statuses.get(each, none), untold.get(each, {})) for each in ids}
    found = {"sources": sources, "erasure_since_ms": since_ms, "problems_left_out": left_out()}
    _say(summary=counts | found)


def _erasure_since(store: Store, problem: Callable[[str], None]) -> int:
    try:
        with Snapshots(store).take() as snapshot:
            return snapshot.erasure_since_ms()
    except StoreError as error:
        problem(str(error))
        return 0


def _check_end(store: Store, before: Known, problem: Callable[[str], None], *, recovered: bool) -> None:
    """Compare how far the store is with what was known of it before it took in its journal."""
    with Snapshots(store).take() as snapshot:
        time = snapshot.store_time()
        found = Reached(snapshot.end, time.store_ms if time else 0, grown(snapshot.totals().values()))
    if missing := before.missing_from(found) or (before.unrecovered(found.end) if recovered else ""):
        problem(missing)


def _accounts(events: Sequence[int], untold: Mapping[str, int]) -> dict[str, int]:
    """Return a source's counts, which add up: requeued and discarded events count among the dead, deferred ones among
    the pending, and those that have left among all. `untold`: the counters that no record tells."""
    left = {name: untold.get(name, 0) for name in EXPIRED_OF.values()}
    ended: dict[str, int] = {}
    for status in reversed(ENDED):  # the parts of an outcome first
        gone = sum(ended.get(name, untold.get(name, 0)) for name in GONE_OF[status])
        ended[RULES[status].counted] = events[status] + gone + left[EXPIRED_OF[status]]
    replayed = untold.get("replayed", 0)
    return {
        "received": sum(events) + sum(left.values()) - replayed,
        "replayed": replayed,
        **{name: untold.get(name, 0) for name in REOPENED},
        **{RULES[status].counted: ended[RULES[status].counted] for status in ENDED},
        "pending": held("pending", events),
        "deferred": held("deferred_now", events),
        "expired": untold.get("expired", 0),
        **left,
    }


def _say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def _start(path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command("storage.check.verify", path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
    )


def _collect(child: subprocess.Popen[bytes], on_progress: Callable[[str, int], None] | None) -> Report:
    report = Report()
    last: tuple[str, int] = ("meta", 0)
    complete, words = False, ""
    assert child.stdout is not None
    for line in child.stdout:
        if not line.endswith(b"\n"):  # the child ended while it wrote
            break
        if not line.startswith(b"{"):  # the interpreter's own words
            words = line.decode(errors="replace").strip() or words
            continue
        said: dict[str, Any] = json.loads(line)
        if "reading" in said:
            last = (said["reading"][0], said["reading"][1])
            if on_progress is not None:
                on_progress(*last)
        elif "old" in said:
            raise StoreOld(said["old"])
        elif "problem" in said:
            report.problems.append(said["problem"])
        else:
            complete = True
            _take_summary(report, said["summary"])
    status = child.wait()
    if not complete and (status < 0 or not report.problems):
        report.problems.append(_ended(status, last, words))
    return report


def _take_summary(report: Report, summary: dict[str, Any]) -> None:
    report.events, report.deliveries, report.blocks = summary["events"], summary["deliveries"], summary["blocks"]
    report.sources, report.problems_left_out = summary["sources"], summary["problems_left_out"]
    report.erasure_since_ms = summary["erasure_since_ms"]


def _ended(status: int, last: tuple[str, int], words: str) -> str:
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    said = f" ({words})" if words else ""
    return f"{last[0]}, key {last[1]}: reading ended {how}{said}; the file is damaged there or at what it refers to"


if __name__ == "__main__":
    sys.exit(with_a_free_number(main))
