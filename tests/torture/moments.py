"""kill -9 again and again in the middle of one thing that the server does.

It is killed before a drawn one of the calls of C that it makes from the begin of that thing on
(`tests/support/killed.py`), up to four times in a row, and then started for good.
"""

import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from random import Random
from signal import SIGHUP, SIGTERM

from tests.support.client import item
from tests.support.config import source
from tests.support.format_1 import migrate_killed_anywhere, old_answers
from tests.support.ledger import pending, read_books
from tests.support.load import SECTIONS, SOURCES, Acknowledged, Load
from tests.support.server import ROOT, Child, Children
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Round
from tests.torture.judge import judged
from tests.torture.kills import ANSWERS_MAX

IN_A_ROW_MAX = 4
REQUEUED = 10_000
REQUEUED_SHORT = 200
DELIVERY_EVENTS = 1000
SMALL_INDEX = "[dedup]\nmemory_ids_max = 32\n"


def killed_under_load(child: Child, seed: int, answers: int = 0) -> tuple[list[Acknowledged], list[tuple[str, str]]]:
    """Start it, send, kill it after so many answers, or a drawn number; return what was acknowledged, and what was sent
    without an answer."""
    child.start()
    load = Load(child, seed, answers or Random(seed).randint(1, ANSWERS_MAX), child.kill_now, [])
    load.run()
    child.kill()
    return load.acknowledged, load.unanswered


def at_rest(child: Child, names: Sequence[str] = SOURCES) -> None:
    eventually(lambda: all(pending(child, name) == 0 for name in names))


@dataclass
class Sent:
    """A server, what it has acknowledged, and source and id of what was sent without an answer."""

    child: Child
    acknowledged: list[Acknowledged] = field(default_factory=list)
    unanswered: list[tuple[str, str]] = field(default_factory=list)

    def post(self, ids: list[str]) -> None:
        """Send these in one delivery. Raises OSError or HTTPException if the server is gone."""
        try:
            answer = self.child.post("worked", [item(event_id) for event_id in ids])
        except (OSError, HTTPException):
            self.unanswered += [("worked", event_id) for event_id in ids]
            raise
        if answer.status == 200:
            self.acknowledged.append(Acknowledged(answer.json["delivery"], "worked", tuple(ids)))


@dataclass(frozen=True)
class Moment:
    """Something that a server does, in the middle of which it is killed."""

    function: str
    """Where it begins, as `killed.py` takes it."""
    calls_max: int
    """About how many calls of C it takes."""
    bring_about: Callable[["Sent"], None] = lambda sent: None
    """Lets a server that is ready do it; returns when it is done, or the server has ended. Nothing: the start does."""
    sections: str = SECTIONS
    options: tuple[str, ...] = ()
    load_first: bool = True


def in_the_middle(moment: Moment, seed: int, directory: Path) -> Round:
    random = Random(seed)
    with Children(directory) as children:
        child = children(moment.sections)
        sent = Sent(child, *(killed_under_load(child, seed) if moment.load_first else ()))
        for _ in range(random.randint(1, IN_A_ROW_MAX)):
            killed_at(sent, moment, random)
        again, not_answered = killed_under_load(child, seed + 1_000_000, answers=5)
        child.start()
        at_rest(child)
        books = read_books(child, unanswered=[*sent.unanswered, *not_answered])
        child.stop()
        return judged(child, [*sent.acknowledged, *again], books)


def killed_at(sent: Sent, moment: Moment, random: Random) -> None:
    """Start it as one that is killed at a drawn call; half of the time early ones are as likely as late ones."""
    evenly, early = random.uniform(1, moment.calls_max), math.exp(random.uniform(0, math.log(moment.calls_max)))
    child = sent.child
    usual, number = child.command, int(random.choice((evenly, early)))
    script = str(ROOT / "tests" / "support" / "killed.py")
    child.command = [sys.executable, "-P", script, moment.function, str(number), *moment.options]
    child.start_if_it_can()
    if not child.has_ended:
        with suppress(OSError, HTTPException):  # it was killed
            moment.bring_about(sent)
    child.kill()
    child.command = usual


def reload(sent: Sent) -> None:
    child = sent.child
    child.write(SECTIONS + source("new"))
    child.signal(SIGHUP)
    eventually(lambda: child.lines_of("reloaded") or child.has_ended)


def drain(sent: Sent) -> None:
    for number in range(5):
        sent.post([f"drained-{number}"])
    sent.child.signal(SIGTERM)
    sent.child.wait()


def send_repeats(sent: Sent) -> None:
    """Enough for the index to go into files again and again."""
    for first in range(0, 1200, 40):
        sent.post([f"in-files-{first + number}" for number in range(40)])
    at_rest(sent.child)


def trust_clock(sent: Sent) -> None:
    sent.child.cli("trust-clock")


def requeue(count: int, seed: int, directory: Path) -> Round:
    """Of so many dead events, killed while they are given back."""
    random = Random(seed)
    moment = Moment("server.flow.engine:Engine.requeue", 20_000, _give_back)
    with Children(directory) as children:
        child = children(source("worked", processor="processors:failing", processor_attempts_max=1))
        (child.directory / "failing").touch()
        child.start()
        size = min(count, DELIVERY_EVENTS)
        sent = Sent(child)
        for first in range(0, count, size):
            sent.post([f"{first + at}" for at in range(size)])
        at_rest(child, ["worked"])
        child.kill()
        (child.directory / "failing").unlink()
        for _ in range(random.randint(1, IN_A_ROW_MAX)):
            killed_at(sent, moment, random)
        child.start()
        _give_back(sent)
        at_rest(child, ["worked"])
        books = read_books(child)
        child.stop()
        assert set(books.processed()) == {("worked", str(number)) for number in range(count)}
        return judged(child, sent.acknowledged, books)


def _give_back(sent: Sent) -> None:
    sent.child.cli("requeue", "worked", "--all")


def migration(_: int, directory: Path) -> Round:
    """Of a store of format 1, killed before each of its changes to the disk, in a copy each."""
    rounds = migrate_killed_anywhere(directory)
    events = json.loads(old_answers()[-1][2])["events"]
    problems = tuple(f"{each['about']}: not the same in the end" for each in rounds if not each["right"])
    return Round(events, problems=problems, cases=len(rounds))


ENTER = "storage.lmdb_store.environment:lock.take"
MOMENTS = {
    "recovery": Moment("server.runtime.parts:Writer", 2300),
    "the making of a store": Moment(ENTER, 550, load_first=False),
    "a start": Moment(ENTER, 2200),
    "the rebuilding of the index": Moment("storage.dedup.index:DedupIndex.rebuild", 130),
    "files of the index": Moment(
        "storage.dedup.jobs:Job.run", 300, send_repeats, SECTIONS + SMALL_INDEX, ("--small-index",)
    ),
    "a reload": Moment("server.runtime.reload:Reload.reload", 170, reload),
    "a drain": Moment("server.runtime.app:Server.drain", 200, drain),
    "trust-clock": Moment("server.runtime.app:Server.trust_clock", 100, trust_clock),
}

IN_THE_SUITE = {"a start"}

FAULTS = (
    *(
        Fault(f"kill -9 in {name}", partial(in_the_middle, moment), long=40, short=int(name in IN_THE_SUITE))
        for name, moment in MOMENTS.items()
    ),
    Fault("kill -9 while 10 000 are requeued", partial(requeue, REQUEUED), long=10, short=0),
    Fault("kill -9 before each change of a migration", migration, long=1, short=0, unit="kills"),
    Fault("kill -9 while 200 are requeued", partial(requeue, REQUEUED_SHORT), long=20, short=0),
)
