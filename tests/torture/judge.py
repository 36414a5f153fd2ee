"""What was acknowledged beside what is there: how many events are lost, how many doubled."""

from collections.abc import Iterable
from dataclasses import replace

from tests.support.ledger import Books
from tests.support.load import Acknowledged
from tests.support.server import Child
from tests.torture.fault import Round


def judged(child: Child, acknowledged: Iterable[Acknowledged], books: Books, cases: int = 1) -> Round:
    """Return what a round has shown; `child` has ended, and `verify` has the last word."""
    known = list(acknowledged)
    found = compared(known, books)
    verify = child.cli("verify")
    problems = [verify.stderr.strip()] if verify.returncode else []
    problems += [f"not JSON on stderr: {line}" for line in child.errors]
    return replace(found, cases=cases, problems=(*found.problems, *problems))


def compared(acknowledged: Iterable[Acknowledged], books: Books) -> Round:
    """Compare event by event; an event that is there and was never sent is a problem."""
    events = lost = 0
    for each in acknowledged:
        there = [event.id for event in books.deliveries.get(each.delivery, ())]
        events += len(each.ids)
        lost += sum(place >= len(there) or there[place] != sent for place, sent in enumerate(each.ids))
    doubled = sum(count - 1 for count in books.processed().values())
    unknown = books.stored - len(books.events)
    return Round(events, lost, doubled, (f"{unknown} events that nobody sent",) if unknown else ())
