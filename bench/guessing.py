"""What a wrong guess costs the gate: an unknown source beside known ones with one token, and with four.

    python -m bench.guessing [--guesses 20000]

Goals: say whether the time of a 401 tells which sources exist, or how many tokens one has. Each round asks for all of
them in turn; CPU time of this thread, medians. Non-goals: what the network adds, which hides far more.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

from server.intake.headers import scan
from server.intake.intake import DeliveryHead
from tests.support.guesses import make_gate

NAMES = ("unknown", "one", "many", "unknown again")
"""The last one is the first one once more: how far two medians differ by chance."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.guessing", description=__doc__)
    parser.add_argument("--guesses", type=int, default=20_000, help="of each kind")
    for name, nanoseconds in medians(parser.parse_args(argv).guesses).items():
        print(f"{name}: {nanoseconds:.0f} ns")
    return 0


def medians(guesses: int) -> dict[str, float]:
    """Return the median of each kind's guesses, in nanoseconds of CPU time."""
    gate = make_gate()
    heads = {name: DeliveryHead(name.split()[0], b"Bearer a-wrong-one", scan([]), 2, "192.0.2.1") for name in NAMES}
    spent: dict[str, list[int]] = {name: [] for name in NAMES}
    for at in range(guesses):
        for name in (*NAMES[at % len(NAMES) :], *NAMES[: at % len(NAMES)]):
            head = heads[name]
            begun = time.thread_time_ns()
            gate.enter(head)
            spent[name].append(time.thread_time_ns() - begun)
    return {name: statistics.median(each) for name, each in spent.items()}


if __name__ == "__main__":
    raise SystemExit(main())
