"""Things leave the store: beside a model that says what must stay, and with kill -9 in between.

Of a server bodies leave under load, then receipts, with the time that has passed for them.
"""

from dataclasses import replace
from pathlib import Path
from random import Random

from hypothesis import Phase, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from tests.property.test_retention_model import StoreUnderRetention
from tests.support.clocks import Clocks
from tests.support.ledger import pending, read_books, totals
from tests.support.load import SECTIONS, SOURCES, Load
from tests.support.server import Child, Children
from tests.support.waiting import eventually
from tests.torture.fault import Fault, Round
from tests.torture.judge import judged

ANSWERS_MAX = 24
BODIES_BYTES_MAX = 4096
"""So few that most leave while the load goes on."""
RECEIPT_HOURS = 720
EXAMPLES = 20
STEPS = 50
KILLS = 1
"""While receipts leave; its starts are most of a round."""


def while_things_leave(seed: int, directory: Path) -> Round:
    """Kill it under load while bodies leave, judge what is there, then kill it a few times while receipts leave."""
    random = Random(seed)
    clocks = Clocks(directory / "clocks")
    launch = ["--clocks", str(clocks.path), "--eager-retention"]
    with Children(directory) as children:
        child = children(f"[retention]\narchive_bytes_max = {BODIES_BYTES_MAX}\n{SECTIONS}", launch=launch)
        child.start()
        load = Load(child, seed, random.randint(ANSWERS_MAX // 2, ANSWERS_MAX), child.kill_now, [])
        load.run()
        child.kill()
        child.start()
        eventually(lambda: all(pending(child, name) == 0 for name in SOURCES))
        books = read_books(child, unanswered=load.unanswered)
        child.stop()
        found = judged(child, load.acknowledged, books)
        clocks.pass_hours(RECEIPT_HOURS + 1)
        return replace(found, problems=(*found.problems, *_receipts_leave(child, books.stored)))


def _receipts_leave(child: Child, events: int) -> list[str]:
    """Kill it while receipts leave; return what is wrong with what is left, of so many events."""
    for _ in range(KILLS):
        child.start()
        child.kill()
    child.start()
    eventually(lambda: _bodies_left(child) == events)
    child.stop()
    counted = sum(each["received"] for each in totals(child).values())
    return [] if counted == events else [f"{counted} events are counted, not {events}"]


def _bodies_left(child: Child) -> float:
    said = child.metrics()
    return sum(value for name, value in said.items() if name.startswith("tidegate_events_expired_total"))


def beside_a_model(seed: int, _: Path) -> Round:
    """Do anything to stores, in any order; the model says what must be there, and how many have left."""
    long = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=False, database=None)
    run_state_machine_as_test(
        seeded(seed)(StoreUnderRetention), settings=settings(long, phases=[Phase.generate], deadline=None)
    )
    return Round(0, cases=EXAMPLES)


FAULTS = (
    Fault("kill -9 while things leave", while_things_leave, long=500),
    Fault("anything beside a model of what leaves", beside_a_model, long=60, short=0, unit="stores"),
)
