"""Run parts for long, and print what all of them have shown so far.

    python -m tests.torture            every part, then the table
    python -m tests.torture kills      one part
    python -m tests.torture --table    the table alone

A run that is interrupted goes on with the next round. Exits 1 if any round has shown a loss, a double or a problem.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.torture.fault import Fault, Impossible, Round
from tests.torture.kept import Kept, Tally
from tests.torture.parts import PARTS, faults_of

MINUTES = 55.0
COLUMNS = ("fault", "rounds", "acknowledged", "lost", "doubled", "verify")


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    said = parser.parse_args(argv)
    if unknown := [part for part in said.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]}: {', '.join(PARTS)}")
    if not said.table:
        for part in said.parts or PARTS:
            run_part(part, said.minutes, said.rounds, fresh=said.fresh)
    print(table())
    return int(any(tally.failed for part in PARTS for tally in Kept(part).tallies.values()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="the longest that a part may take")
    parser.add_argument("--rounds", type=int, help="of each fault, instead of as many as it says")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs have shown")
    parser.add_argument("--table", action="store_true", help="only print what earlier runs have shown")
    return parser


def run_part(part: str, minutes: float, rounds: int | None = None, *, fresh: bool = False) -> None:
    """Run the rounds that are missing, fault by fault by turns, until all are done or the time is over."""
    kept = Kept(part)
    if fresh:
        kept.forget()
    until = time.monotonic() + minutes * 60
    for fault in _turns(part, kept, rounds):
        if time.monotonic() > until:
            print(f"{part}: the time is over, say it again to go on", file=sys.stderr)
            return
        _one_round(part, fault, kept.of(fault))
        kept.save()


def _turns(part: str, kept: Kept, rounds: int | None) -> Iterator[Fault]:
    left = [fault for fault in faults_of(part) if fault.long]
    while left:
        left = [each for each in left if kept.of(each).rounds < (rounds or each.long) and not kept.of(each).impossible]
        yield from left


def _one_round(part: str, fault: Fault, tally: Tally) -> None:
    seed, begun = tally.rounds, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tidegate-torture-") as directory:
        try:
            found = fault.run(seed, Path(directory))
        except Impossible as error:
            tally.impossible = str(error)
            return
        except Exception:  # noqa: BLE001 - a check that fails is a finding, and the other rounds go on
            found = Round(0, problems=(traceback.format_exc(limit=-3),))
    tally.add(seed, found, time.monotonic() - begun)
    print(f"{part}: {fault.name}: seed {seed}: {'good' if found.good else found}", file=sys.stderr, flush=True)


def table() -> str:
    """Return what all parts have shown, as Markdown."""
    rows = [_row(name, tally) for part in PARTS for name, tally in Kept(part).tallies.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in [COLUMNS, ["---"] * len(COLUMNS), *rows])


def _row(name: str, tally: Tally) -> list[str]:
    if tally.impossible:
        return [name, "–", "–", "–", "–", tally.impossible]
    counts = [f"{tally.cases:,} {tally.unit}", f"{tally.acknowledged:,}", str(tally.lost), str(tally.doubled)]
    return [name, *(each.replace(",", " ") for each in counts), f"{tally.failed} failed" if tally.failed else "ok"]


if __name__ == "__main__":
    sys.exit(main())
