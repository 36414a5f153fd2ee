"""kill -9 under load, at any moment, again and again on one store: nothing acknowledged is missing, nothing is doubled.

Everything is drawn from a seed, the moment of each kill too: it is a number of answers, not a time. What still varies
is how far the server's own threads have come by then, and that is what the rounds are for.
"""

from pathlib import Path
from random import Random

from tests.support.ledger import NO_BOOKS, check_identity, pending, read_books
from tests.support.load import SECTIONS, SOURCES, Acknowledged, Load, check_books, check_calls
from tests.support.server import Children
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Round
from tests.torture.judge import judged

ANSWERS_MAX = 80
KILLS = 4


def kills(children: Children, seed: int = 0) -> Round:
    """Kill a server so often, look at what it has left each time, start it for good. Ids are sent again across kills.

    No processor sees an event whose outcome was on disk when the server started.
    """
    child = children(SECTIONS)
    acknowledged: list[Acknowledged] = []
    books, called = NO_BOOKS, 0
    for number in range(KILLS * seed, KILLS * (seed + 1)):
        child.start()
        known = [event_id for each in acknowledged[-50:] for event_id in each.ids]
        load = Load(child, number, Random(number).randint(1, ANSWERS_MAX), child.kill_now, known)
        load.run()
        child.kill()
        if number % 2:  # what only the journal has comes into the store by a start, else by whoever reads
            child.start()
            child.kill()
        assert not load.refused
        acknowledged += load.acknowledged
        processed_before, books = set(books.processed()), read_books(child, unanswered=load.unanswered, known=books)
        check_books(books, acknowledged)
        called = check_calls(child, called, processed_before, books)
    child.start()
    eventually(lambda: all(pending(child, name) == 0 for name in SOURCES))
    check_identity(child)
    books = read_books(child, known=books.unread())
    check_calls(child, called, set(), books)
    assert set(books.processed()) >= {(each.source, event_id) for each in acknowledged for event_id in each.ids}
    assert child.stop() == 0
    return judged(child, acknowledged, books, cases=KILLS)


def under_load(seed: int, directory: Path) -> Round:
    with Children(directory) as children:
        return kills(children, seed)


FAULTS = (Fault("kill -9 under load", under_load, long=250, unit="kills"),)
