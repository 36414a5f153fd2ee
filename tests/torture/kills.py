"""kill -9 at any moment, under load and in whatever the server does at its start."""

from pathlib import Path
from random import Random

from tests.support.ledger import pending, read_books
from tests.support.load import SECTIONS, SOURCES, Load
from tests.support.server import Children
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Round
from tests.torture.judge import judged

ANSWERS_MAX = 80


def under_load(seed: int, directory: Path) -> Round:
    """Kill it after a random number of answers, start it again, let it come to rest."""
    with Children(directory) as children:
        child = children(SECTIONS)
        child.start()
        load = Load(child, seed, Random(seed).randint(1, ANSWERS_MAX), child.kill_now, [])
        load.run()
        child.kill()
        child.start()
        eventually(lambda: all(pending(child, name) == 0 for name in SOURCES))
        books = read_books(child, unanswered=load.unanswered)
        child.stop()
        return judged(child, load.acknowledged, books)


FAULTS = (Fault("kill -9 under load", under_load, long=1000, short=2),)
