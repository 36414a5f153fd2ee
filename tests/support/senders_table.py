"""What the tests with real SDKs have shown, as tables: `python -m tests.support.senders_table` runs them, one after
another, and keeps their figures.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.conditions import Figures
from tests.support.pages import ROOT
from tests.torture.kept import machine

RESULTS = ROOT / "bench" / "results" / "senders.json"
TESTS = ("tests/integration/test_sdk_conditions.py", "tests/integration/test_browser_sdk.py")
PROPERTY = "figures"


@dataclass(frozen=True)
class Kept:
    """The figures of a run, in the order of the tests."""

    machine: str
    day: str
    rows: Sequence[Figures]


def record(request: pytest.FixtureRequest, figures: Figures) -> None:
    """Put the figures of a test into pytest's report, for `measure`."""
    request.node.user_properties.append((PROPERTY, json.dumps(asdict(figures))))


def load(path: Path = RESULTS) -> Kept:
    said = json.loads(path.read_text())
    return Kept(**{**said, "rows": [Figures(**each) for each in said["rows"]]})


def bodies_table(rows: Sequence[Figures]) -> str:
    """Return how each SDK sends, as Markdown."""
    columns = ("SDK", "route", "the key is in", "Content-Encoding", "Content-Type")
    healthy = [each for each in rows if each.condition == "healthy"]
    wires = [(_code(each.paths), each.credentials, _code(each.encodings), _code(each.types)) for each in healthy]
    cells = [["; ".join(values) or "–" for values in wire] for wire in wires]
    return _table(columns, [[_name(each), *line] for each, line in zip(healthy, cells, strict=True)])


def _code(values: Sequence[str]) -> Sequence[str]:
    return [f"`{each}`" for each in values if each]


def conditions_table(rows: Sequence[Figures]) -> str:
    """Return what became of the events of each SDK in each condition, as Markdown."""
    columns = ("SDK", "the server", "events", "reported as sent", "kept once", "duplicates", "seconds")
    return _table(
        columns,
        [
            [_name(each), each.condition, *map(str, (each.events, each.sent, each.kept, each.duplicates, each.seconds))]
            for each in rows
        ],
    )


def _name(row: Figures) -> str:
    return f"`{row.package}` {row.version}" + (f", {row.way}" if row.way else "")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [columns, ["---"] * len(columns), *rows])


def measure() -> Kept:
    """Run the tests; raise SystemExit unless each was run and passed."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        done = subprocess.run([sys.executable, "-m", "pytest", f"--junitxml={report}", *TESTS], cwd=ROOT, check=False)
        tree = ElementTree.parse(report)  # noqa: S314  # written by our own pytest
    if done.returncode or tree.find(".//skipped") is not None:
        raise SystemExit("nothing is kept: not every test was run and passed")
    found = [json.loads(each.attrib["value"]) for each in tree.iter("property") if each.attrib["name"] == PROPERTY]
    return Kept(machine(), f"{datetime.now(UTC):%Y-%m-%d}", [Figures(**each) for each in found])


def write(kept: Kept, path: Path = RESULTS) -> None:
    said: dict[str, Any] = asdict(kept)
    path.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    write(measure())
