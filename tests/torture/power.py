"""Power cuts: what servers did to their files is recorded, and the disk is made as a cut could have left it.

Most images are opened in a child (`images.py`), some by a server. See `tests/support/shim/disk.py` for what an image
is, and why an event may be missing in it or may not.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from tests.support.clocks import Clocks
from tests.support.ledger import calls, pending, read_books
from tests.support.load import Acknowledged
from tests.support.server import ROOT, Child, Children
from tests.support.shim.build import NoCompiler
from tests.support.waiting import eventually
from tests.torture import traces
from tests.torture.fault import Fault, Impossible, Round
from tests.torture.images import KINDS, Cut, Order, cuts, known_at_last, points_of, records_of, write_image
from tests.torture.judge import judged
from tests.torture.traces import LIMITS, NAMES, SOURCES, Recorded

SHARED_MEMORY = Path("/dev/shm")
"""Where images are made, if it has room: a disk would only be waited for."""
SHARED_BYTES_MIN = 2**28

WHAT = {
    "nothing": "unflushed writes lost",
    "in order": "the last write torn",
    "any order": "unflushed writes in any order",
}

Trace = Callable[[int, Path], Recorded]


@dataclass(frozen=True, slots=True)
class Images:
    """One trace, and so many images of one kind; a server is started with some more."""

    trace: Trace
    kind: str
    count: int
    served: int

    def __call__(self, seed: int, directory: Path) -> Round:
        try:
            recorded = self.trace(seed, directory)
        except NoCompiler as error:
            raise Impossible(str(error)) from None
        with place() as work:
            order = order_of(recorded, work, kind=self.kind, seed=seed, count=self.count)
            [found] = look_at([order])
        rounds = [_served(order, Random(f"{seed} {number}"), directory) for number in range(self.served)]
        return together([found, *rounds])


def order_of(recorded: Recorded, work: Path, **more: object) -> Order:
    """Return an order for images of this trace."""
    paths = str(recorded.trace), str(recorded.root), str(work)
    return Order(*paths, old=recorded.old, **more)  # type: ignore[arg-type]  # `more` holds fields of Order


@contextmanager
def place() -> Iterator[Path]:
    """A directory for images."""
    shared = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) and _free(SHARED_MEMORY) >= SHARED_BYTES_MIN else None
    with tempfile.TemporaryDirectory(prefix="tidegate-power-", dir=shared) as work:
        yield Path(work)


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def look_at(orders: Sequence[Order]) -> list[Round]:
    """Return what a child found, for each order."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.torture.images", json.dumps([asdict(each) for each in orders])],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    found: list[list[Round]] = [[] for _ in orders]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for each in lines:
        if "found" in each:
            found[each["order"]].append(_round(each))
    if done.returncode:
        found[-1].append(Round(0, problems=(f"judging ended with {done.returncode} at {lines[-1:]}",)))
    return [together(rounds) for rounds in found]


def _round(said: dict[str, Any]) -> Round:
    found = said["found"]
    problems = tuple(f"record {said['at']}: {each}" for each in found["problems"])
    return Round(said["acknowledged"], found["lost"], found["doubled"], problems)


def together(rounds: Sequence[Round]) -> Round:
    """Return many images as one round."""
    return Round(
        sum(each.acknowledged for each in rounds),
        sum(each.lost for each in rounds),
        sum(each.doubled for each in rounds),
        tuple(problem for each in rounds for problem in each.problems),
        sum(each.cases for each in rounds),
    )


def _served(order: Order, random: Random, directory: Path) -> Round:
    """Start a server with an image, after a reboot; judge it when it has come to rest."""
    records = records_of(order)
    [cut] = cuts(records, Path(order.root), random.choices(points_of(records, order, random)))
    with tempfile.TemporaryDirectory(dir=directory) as own, Children(Path(own)) as children:
        clocks = Clocks(Path(own) / "clocks")
        clocks.set_wall(int(time.time() * 1000))
        child = children(LIMITS + SOURCES, launch=["--waits", "0.05", "--clocks", str(clocks.path)])
        write_image(cut.disk.image(KINDS[order.kind](random, cut.disk)), child.directory, random)
        child.start()
        eventually(lambda: all(pending(child, name) == 0 for name in NAMES))
        unanswered = known_at_last(records).sent - set(cut.known.acknowledged.values())
        child.delivered += cut.known.acknowledged
        ids = [(each.source, event_id) for each in unanswered for event_id in each.ids]
        books = read_books(child, unanswered=ids)
        assert child.stop() == 0
        return _with_calls(judged(child, _acknowledged(cut), books), child, cut)


def _acknowledged(cut: Cut) -> list[Acknowledged]:
    return [Acknowledged(name, each.source, each.ids) for name, each in cut.known.acknowledged.items()]


def _with_calls(found: Round, child: Child, cut: Cut) -> Round:
    """Add what a processor got again though its outcome was seen before the cut."""
    again = {event_id for ids in calls(child) for event_id in ids} & {event_id for _, event_id in cut.known.processed}
    problems = (f"processed before, and called again: {again}",) if again else ()
    return replace(found, problems=(*found.problems, *problems))


def _faults() -> Iterator[Fault]:
    for words, trace, count, served, long in (
        ("a store is made", traces.making, 40, 0, 25),
        ("a server's life", traces.life, 300, 2, 12),
        ("a start after a cut", traces.recovery, 60, 1, 12),
        ("things leave a store", traces.leaving, 200, 0, 8),
        ("a store is converted", traces.conversion, 60, 0, 5),
    ):
        for kind, what in WHAT.items():
            short = int(trace is traces.making and kind == "any order")
            run = Images(trace, kind, count, served)
            yield Fault(f"power cut, {words}, {what}", run, long, short, "images")


FAULTS = tuple(_faults())
