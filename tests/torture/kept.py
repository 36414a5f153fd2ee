"""What the rounds showed, kept in a file for each part, so that a run that ended goes on where it was."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.torture.fault import Fault, Round

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "torture"
FAILED_MAX = 20
"""Failed rounds that are kept with their words: there should be none."""


@dataclass(slots=True)
class Tally:
    """What all rounds of one fault have shown so far."""

    unit: str = "rounds"
    rounds: int = 0
    cases: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    failed: int = 0
    seconds: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)
    """The first of them: seed, what was lost and doubled, problems."""
    figures: list[dict[str, float]] = field(default_factory=list)
    """What was measured in each round, if anything was."""
    impossible: str = ""
    """Why this host cannot do it; another run tries again."""

    def add(self, seed: int, found: Round, seconds: float) -> None:
        self.rounds += 1
        self.cases += found.cases
        self.acknowledged += found.acknowledged
        self.lost += found.lost
        self.doubled += found.doubled
        self.seconds = round(self.seconds + seconds, 1)
        if found.figures:
            self.figures.append(dict(found.figures))
        if not found.good:
            self.failed += 1
            if len(self.failures) < FAILED_MAX:
                self.failures.append({"seed": seed, **_words(found)})


def _words(found: Round) -> Mapping[str, object]:
    return {"lost": found.lost, "doubled": found.doubled, "problems": list(found.problems)}


class Unreadable(Exception):
    """A file of tallies that cannot be used. The message says which."""


class Kept:
    """The tallies of one part, as its file has them."""

    def __init__(self, part: str, directory: Path = RESULTS) -> None:
        """Raises Unreadable."""
        self._path = directory / f"{part}.json"
        try:
            said = json.loads(self._path.read_text()) if self._path.exists() else {}
            self.machine: str = said.get("machine", machine())
            self.tallies = {name: Tally(**each) for name, each in said.get("faults", {}).items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise Unreadable(f"{self._path} is not as a run has left it, move it away: {error}") from error

    def of(self, fault: Fault) -> Tally:
        return self.tallies.setdefault(fault.name, Tally(fault.unit))

    def save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        faults: Mapping[str, Any] = {name: asdict(tally) for name, tally in self.tallies.items()}
        said = {"machine": self.machine, "until": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}", "faults": faults}
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(said, indent=1) + "\n")
        new.replace(self._path)

    def forget(self) -> None:
        """Begin anew."""
        self._path.unlink(missing_ok=True)
        self.tallies.clear()
        self.machine = machine()


def machine() -> str:
    """Return what the figures of this host depend on."""
    names = [line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{len(names)} cores, {names[0] if names else platform.machine()}, Python {platform.python_version()}"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
