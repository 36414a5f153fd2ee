"""Run parts for long, and print what all of them have shown so far.

    python -m tests.torture                    every part, then the table
    python -m tests.torture kills              one part
    python -m tests.torture kills --seed 7     one round of each of its faults again, with nothing kept
    python -m tests.torture --table            the table alone

A run that is interrupted goes on with the next round. Exits 1 if any round has shown a loss, a double or a problem.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from server.cli.exit_codes import INTERRUPTED
from tests.torture.fault import Fault, Impossible
from tests.torture.kept import RESULTS, Kept, Unreadable
from tests.torture.parts import PARTS, faults_of
from tests.torture.run import round_of, run_part
from tests.torture.table import table

MINUTES = 55.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    said = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell has it ignored in the background: so would each server
    if unknown := [part for part in said.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]}: {', '.join(PARTS)}")
    parts = {part: faults_of(part) for part in PARTS}
    if said.seed is not None:
        return _again({part: parts[part] for part in said.parts or PARTS}, said.seed, said.fault)
    try:
        kept = {part: Kept(part, said.results) for part in PARTS}
    except Unreadable as error:
        parser.error(str(error))
    try:
        for part in () if said.table else said.parts or PARTS:
            if said.fresh:
                kept[part].forget()
            run_part(part, parts[part], kept[part], said.minutes, said.rounds)
    except KeyboardInterrupt:
        print(table(parts, kept))
        return INTERRUPTED
    print(table(parts, kept))
    return int(any(tally.failed for each in kept.values() for tally in each.tallies.values()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="the longest that a part may take")
    parser.add_argument("--rounds", type=int, help="of each fault, instead of as many as it says")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs have shown")
    parser.add_argument("--table", action="store_true", help="only print what earlier runs have shown")
    parser.add_argument("--seed", type=int, help="only the round of this seed")
    parser.add_argument("--fault", default="", help="with --seed: only of faults with this in their name")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where it is kept")
    return parser


def _end(number: int, _: object) -> None:
    """End the run; directories and mounts are taken away on the way out, which the same signal once more ends not."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _again(parts: dict[str, Sequence[Fault]], seed: int, name: str) -> int:
    is_good = True
    for fault in (fault for faults in parts.values() for fault in faults if name in fault.name):
        try:
            found = round_of(fault, seed)
        except Impossible as error:
            print(f"{fault.name}: impossible: {error}")
            continue
        print(f"{fault.name}: {found}")
        is_good = is_good and found.good
    return int(not is_good)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
