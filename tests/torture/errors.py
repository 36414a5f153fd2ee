"""System calls that fail: at the n-th write, flush or naming of each file of a store, once or from then on.

A run without faults counts the calls of each file. Then one of them fails in a server under load. Whatever becomes of
it: it goes on, or ends as documented and says so in one line; what it acknowledged is on the disk, even if the power is
cut then and the disk has nothing but what was flushed; and the next start goes on. A call that is only interrupted
changes nothing at all.
"""

import errno
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random

from tests.support.ledger import pending, read_books
from tests.support.load import Acknowledged
from tests.support.server import Child
from tests.support.shim import build
from tests.support.shim.trace import MARK, Record, counted, read_records
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Impossible, Round
from tests.torture.images import known_at_last
from tests.torture.judge import judged
from tests.torture.power import look_at, order_of, place, together
from tests.torture.traces import EARLIER, NAMES, Recorder, recording

CLIENTS = 2
REQUESTS = 8
FIRST_CALLS = 6
"""Calls of each kind that come one after the other; later ones are drawn."""
IMAGES = 4
ENDS = (1, 2)
"""Exit codes of a server that cannot go on."""
KINDS: Mapping[str, str] = {"W": "write", "S": "flush", "N": "name"}


@dataclass(frozen=True, slots=True)
class Errors:
    """One kind of error."""

    error: int
    kinds: str
    lasts: bool
    """It may be there from then on, and not just once."""
    harmless: bool = False
    """Nobody may notice."""

    def __call__(self, seed: int, directory: Path) -> Round:
        try:
            fault = self.fault(seed)
        except build.NoCompiler as error:
            raise Impossible(str(error)) from None
        found = _with(fault, seed, directory, harmless=self.harmless)
        where = f"{KINDS[fault.kind]} {fault.first} of {fault.name}{'' if fault.last == fault.first else ', and on'}"
        return replace(found, problems=tuple(f"{where}: {each}" for each in found.problems))

    def fault(self, seed: int) -> build.Fault:
        """Return what is to fail in this round: the calls of all files by turns, the first ones first."""
        calls = calls_of_a_run(is_used=_is_used(seed))
        known = sorted((each for each in calls if each[0] in self.kinds), key=_order)
        random, (kind, name) = Random(seed), known[seed // 2 % len(known)]
        count, turn = calls[kind, name], seed // 2 // len(known) + 1
        first = min(turn, count) if turn <= FIRST_CALLS else random.randint(1, count)
        last = build.EVERY_ONE if self.lasts and random.random() < 0.5 else first
        return build.Fault(kind, name, first, last, self.error)


def _order(call: tuple[str, str]) -> tuple[bool, bool, str, str]:
    """The flushes first, and of these the journal's, so that a few rounds show what matters most."""
    kind, name = call
    return kind != "S", name != "journal", kind, name


def _is_used(seed: int) -> bool:
    """Whether the store of this round was used by an earlier server, without faults."""
    return bool(seed % 2)


@lru_cache(maxsize=2)
def calls_of_a_run(*, is_used: bool) -> Mapping[tuple[str, str], int]:
    """Return how many calls of each kind each file gets if none fails."""
    with tempfile.TemporaryDirectory() as directory, recording(Path(directory)) as recorder:
        if is_used:
            _use(recorder)
        _run(recorder, 0)
        recorder.child.kill()
        records = read_records(recorder.recorded.trace)
        return counted(records[_begun(records) :], recorder.child.store)


def _begun(records: Sequence[Record]) -> int:
    """Return where the run with the faults begins."""
    return max(at for at, each in enumerate(records) if each.kind == MARK and "begun" in each.mark)


def _use(recorder: Recorder) -> None:
    """Let a server without faults use the store."""
    child, world = recorder.child, recorder.child.environment
    child.environment = {**world, "SHIM_FAULTS": ""}
    child.start()
    recorder.traffic(EARLIER, CLIENTS, REQUESTS)
    child.stop()
    child.environment = world
    child.lines.clear()


def _run(recorder: Recorder, seed: int) -> None:
    """Start a server, send, and let it come to rest if it can."""
    child = recorder.child
    recorder.marker.mark(begun=[])
    child.start_if_it_can()
    if child.port:
        recorder.traffic(seed, CLIENTS, REQUESTS)
        eventually(lambda: _is_through(child))
    else:
        child.wait()


def _is_through(child: Child) -> bool:
    """Nothing is pending, or the server has ended, or says that it cannot go on."""
    try:
        return child.admin("/readyz").status == 503 or all(pending(child, name) == 0 for name in NAMES)
    except OSError:
        return child.has_ended


def _with(fault: build.Fault, seed: int, directory: Path, *, harmless: bool) -> Round:
    with recording(directory, fault) as recorder:
        child = recorder.child
        if _is_used(seed):
            _use(recorder)
        _run(recorder, seed)
        problems = _said(child, harmless=harmless)
        child.kill()
        records = read_records(recorder.recorded.trace)
        cut = _cut(recorder, records, seed)
        child.environment = {key: value for key, value in child.environment.items() if key != "LD_PRELOAD"}
        found = _started_again(recorder)
    if harmless and recorder.refused:
        problems.append(f"was refused: {recorder.refused[0]!r}")
    # The images are of the same deliveries, which count once.
    rest = replace(cut, acknowledged=0, cases=0)
    return together([found, rest, Round(0, problems=tuple(problems), cases=0)])


def _said(child: Child, *, harmless: bool) -> list[str]:
    """Return what is wrong with how the server lived, or ended."""
    problems = [f"said {line}" for line in child.errors if "Traceback" in line]
    problems += [
        f"failed: {line}" for line in child.lines if "exception" in line or line["event"] == "the server has failed"
    ]
    if child.has_ended:
        code, words = (
            child.wait(),
            [*child.errors, *(json.dumps(line) for line in child.lines if line["level"] == "error")],
        )
        if code not in ENDS or len(words) != 1 or harmless:
            problems.append(f"ended with {code}, and said {words}")
    return problems


def _cut(recorder: Recorder, records: Sequence[Record], seed: int) -> Round:
    """Cut the power after the fault, and look at the disk."""
    failed = next((at for at, each in enumerate(records) if each.kind == "F"), _begun(records))
    with place() as work:
        orders = [
            order_of(recorder.recorded, work, kind=kind, seed=seed, count=IMAGES, behind=failed)
            for kind in ("nothing", "any order")
        ]
        return together(look_at(orders))


def _started_again(recorder: Recorder) -> Round:
    """Start without faults, send some more, and judge what is there."""
    child = recorder.child
    child.errors.clear()
    child.start()
    recorder.traffic(EARLIER + 1, 1, REQUESTS)
    eventually(lambda: all(pending(child, name) == 0 for name in NAMES))
    known = known_at_last(read_records(recorder.recorded.trace))
    child.delivered[:] = known.acknowledged
    unanswered = known.sent - set(known.acknowledged.values())
    books = read_books(child, unanswered=[(each.source, event_id) for each in unanswered for event_id in each.ids])
    child.stop()
    acknowledged = [Acknowledged(name, each.source, each.ids) for name, each in known.acknowledged.items()]
    return judged(child, acknowledged, books)


FAULTS = (
    Fault("EIO", Errors(errno.EIO, "WSN", lasts=True), long=130, unit="errors"),
    Fault("ENOSPC", Errors(errno.ENOSPC, "WSN", lasts=True), long=130, short=0, unit="errors"),
    Fault("EROFS", Errors(errno.EROFS, "WSN", lasts=True), long=100, short=0, unit="errors"),
    Fault("EINTR", Errors(errno.EINTR, "WS", lasts=False, harmless=True), long=70, short=0, unit="errors"),
    Fault("short writes", Errors(build.HALF, "W", lasts=False), long=60, short=0, unit="errors"),
)
