"""What all parts have shown, as one table."""

from collections.abc import Mapping, Sequence

from tests.torture.fault import Fault
from tests.torture.kept import Kept, Tally

COLUMNS = ("fault", "rounds", "acknowledged", "lost", "doubled", "verify")


def table(parts: Mapping[str, Sequence[Fault]], kept: Mapping[str, Kept]) -> str:
    """Return it as Markdown, with a row for each fault, also for those of which no round was run."""
    rows = [_row(fault, kept[part].of(fault)) for part, faults in parts.items() for fault in faults if fault.long]
    return "\n".join("| " + " | ".join(row) + " |" for row in [COLUMNS, ["---"] * len(COLUMNS), *rows])


def _row(fault: Fault, tally: Tally) -> list[str]:
    if not tally.rounds:
        return [fault.name, *["–"] * 4, tally.impossible or "not run"]
    counts = [str(tally.lost), str(tally.doubled), f"{tally.failed} failed" if tally.failed else "ok"]
    return [fault.name, _cases(fault, tally), _number(tally.acknowledged), *counts]


def _cases(fault: Fault, tally: Tally) -> str:
    left = fault.long - tally.rounds
    return f"{_number(tally.cases)} {tally.unit}" + (f", {_number(left)} rounds left" if left > 0 else "")


def _number(count: int) -> str:
    return f"{count:,}".replace(",", " ")
