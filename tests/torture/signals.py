"""Storms of signals at any moment: those that a server hears, mixed; unknown ones; stopped and continued."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.support.config import source
from tests.support.ledger import read_books
from tests.support.load import SECTIONS, Load
from tests.support.server import Child, Children
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Round
from tests.torture.judge import judged
from tests.torture.kills import ANSWERS_MAX
from tests.torture.moments import at_rest

ENDING = (signal.SIGTERM, signal.SIGINT)
HARMLESS = (
    signal.SIGHUP,
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGWINCH,
    signal.SIGCHLD,
    signal.SIGURG,
    signal.SIGCONT,
)
DEADLY = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGQUIT, signal.SIGABRT, signal.SIGRTMIN)
"""Of which a server knows nothing: they end it as any process, like a kill."""

STORM_MAX = 30
HARMLESS_BEFORE_MAX = 3000
"""Sent to a starting server before the others: what passes the time, at the host's own pace."""

SAID = "a second signal ends the drain"


def storm(child: Child, random: Random) -> None:
    """Whatever harms nobody, in any order; other configurations meanwhile."""
    for number in range(random.randint(1, STORM_MAX)):
        if random.random() < 0.2:
            child.write(SECTIONS + source(f"new-{number}"))
        if random.random() < 0.1:
            child.signal(signal.SIGSTOP)
            child.signal(signal.SIGCONT)
        child.signal(random.choice(HARMLESS))


def drains(child: Child, random: Random) -> None:
    """Reloads in the middle of reloads, then the end, then more of both: a second one ends the drain."""
    storm(child, random)
    for _ in range(random.choice((1, 1, 2, 5))):
        child.signal(random.choice(ENDING))
        child.signal(random.choice((signal.SIGHUP, signal.SIGCONT)))


def ends_unknown(child: Child, random: Random) -> None:
    storm(child, random)
    child.signal(random.choice(DEADLY))


def under_load(end: Callable[[Child, Random], None], codes: Sequence[int]) -> Callable[[int, Path], Round]:
    """Storms while it starts, while clients send, and while it ends, with one of these exit codes; then the start for
    good, in which nobody is pending in the end."""

    def run(seed: int, directory: Path) -> Round:
        random = Random(seed)
        with Children(directory) as children:
            child = children(SECTIONS)
            begun = _started_in_a_storm(child, random)
            child.start()
            load = Load(child, seed, random.randint(1, ANSWERS_MAX), lambda: end(child, random), [])
            load.run()
            code = child.wait()
            child.write(SECTIONS)
            child.start()
            at_rest(child)
            books = read_books(child, unanswered=load.unanswered)
            child.stop()
            child.errors = [line for line in child.errors if not line.startswith(SAID)]
            found = judged(child, load.acknowledged, books)
        problems = [*found.problems, *begun, *([] if code in codes else [f"it ended with {code}"])]
        return Round(found.acknowledged, found.lost, found.doubled, tuple(problems))

    return run


def _started_in_a_storm(child: Child, random: Random) -> list[str]:
    """End it in the middle of its start, and tell what is not as it should be then.

    Before Python has begun with `server/cli/entry.py` the system's own answer to each signal holds.
    """
    child.begin()
    eventually(lambda: hears(child, signal.SIGTERM))
    for _ in range(random.randint(0, HARMLESS_BEFORE_MAX)):
        child.signal(signal.SIGURG)
    for _ in range(random.randint(1, STORM_MAX)):
        child.signal(random.choice(HARMLESS))
    child.signal(random.choice(ENDING))
    child.signal(signal.SIGHUP)
    code = child.wait()
    return [] if code == 0 else [f"a start that was ended ended with {code}: {child.errors}"]


def hears(child: Child, number: signal.Signals) -> bool:
    """Whether it has a handler for this signal."""
    mask = int(Path(f"/proc/{child.pid}/status").read_text().split("SigCgt:")[1].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


FAULTS = (
    Fault("SIGTERM, SIGINT and SIGHUP in storms", under_load(drains, (0, 1)), long=300),
    Fault("signals that it does not know", under_load(ends_unknown, [-number for number in DEADLY]), long=100, short=0),
)
