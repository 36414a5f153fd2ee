"""The page about reliability has the figures of the kept results of `make torture`."""

from pathlib import Path

from tests.support.pages import ROOT
from tests.torture.kept import RESULTS, Kept
from tests.torture.parts import PARTS, faults_of
from tests.torture.table import table

PAGE = ROOT / "docs" / "reliability.md"
BEGIN = "<!-- From here: written by `python -m tests.unit.test_reliability_page`. -->\n"
END = "<!-- To here. -->\n"


def figures(directory: Path = RESULTS) -> str:
    """Return the part of the page that is generated; `python -m tests.unit.test_reliability_page` writes it."""
    kept = {part: Kept(part, directory) for part in PARTS}
    machines = sorted({each.machine for each in kept.values() if any(tally.rounds for tally in each.tallies.values())})
    rows = table({part: faults_of(part) for part in PARTS}, kept)
    return f"\n{rows}\n\nMachine: {'; '.join(machines) or 'none yet'}.\n\n"


def test_page_has_the_newest_figures() -> None:
    """The table is made of the results that are kept; a fault of which no round was run says so."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    assert before
    assert begin
    assert rest.partition(END)[0] == figures()


def test_what_was_not_run_has_no_figure(tmp_path: Path) -> None:
    """Without results each fault that has a long form is named, and none has a number."""
    rows = [line for line in figures(tmp_path).splitlines() if line.startswith("| ")][2:]
    assert len(rows) == sum(1 for part in PARTS for fault in faults_of(part) if fault.long)
    assert all(row.endswith("| – | – | – | – | not run |") for row in rows)


if __name__ == "__main__":
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + begin + figures() + END + rest.partition(END)[2])
