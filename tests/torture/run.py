"""Running the rounds of one part that are missing, with a word about each."""

import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from server.cli.progress import Progress
from tests.torture.fault import Fault, Impossible, Round
from tests.torture.kept import Kept, Tally


def run_part(part: str, faults: Sequence[Fault], kept: Kept, minutes: float, rounds: int | None = None) -> None:
    """Run fault by fault by turns until all rounds are done or the time is over; keep what each has shown.

    `rounds`: of each fault, instead of as many as it says.
    """
    asked = {fault.name: rounds or fault.long for fault in faults if fault.long}
    for tally in kept.tallies.values():
        tally.impossible = ""
    until = time.monotonic() + minutes * 60
    with Progress(f"rounds of {part}", sum(asked.values())) as progress:
        for fault in _turns(faults, kept, asked):
            if time.monotonic() > until:
                _say(f"{part}: the time is over, say it again to go on")
                return
            _one_round(part, fault, kept.of(fault))
            kept.save()
            progress.update(sum(kept.tallies[name].rounds for name in asked if name in kept.tallies), fault.name)


def _turns(faults: Sequence[Fault], kept: Kept, asked: dict[str, int]) -> Iterator[Fault]:
    left = [fault for fault in faults if fault.long]
    while left:
        left = [each for each in left if kept.of(each).rounds < asked[each.name] and not kept.of(each).impossible]
        yield from left


def _one_round(part: str, fault: Fault, tally: Tally) -> None:
    seed, begun = tally.rounds, time.monotonic()
    try:
        found = round_of(fault, seed)
    except Impossible as error:
        tally.impossible = str(error)
        _say(f"{part}: {fault.name}: impossible: {error}")
        return
    tally.add(seed, found, time.monotonic() - begun)
    if not (found.good and sys.stderr.isatty()):
        _say(f"{part}: {fault.name}: seed {seed}: {'good' if found.good else found}")


def round_of(fault: Fault, seed: int) -> Round:
    """Run one round in a directory of its own. Raises Impossible; a check that fails is a problem of the round."""
    with tempfile.TemporaryDirectory(prefix="tidegate-torture-", ignore_cleanup_errors=True) as directory:
        try:
            return fault.run(seed, Path(directory))
        except Impossible:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding, and the other rounds go on
            return Round(0, problems=(traceback.format_exc(limit=-3),))


def _say(line: str) -> None:
    if sys.stderr.isatty():
        line = f"\r{line}\x1b[K"
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
