"""What a fault is, and what one round of it showed.

A round is drawn from its seed alone, so that a failed one can be done again: it starts servers in a directory of its
own, does the harm, and compares what was acknowledged with what is there. The suite runs the first few rounds of each
fault, `python -m tests.torture` many.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Round:
    """What one round showed. It is good if nothing is lost or doubled and there is no problem."""

    acknowledged: int
    """Events that were answered with 200."""
    lost: int = 0
    doubled: int = 0
    problems: tuple[str, ...] = ()
    """What `verify` said, and whatever else is not as it should be."""
    cases: int = 1
    """How many images, injected errors or inputs the round had; 1 if it is one case itself."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured beside, with the unit last in each name; kept, and judged by nobody."""

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.problems)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is done to a server, in rounds."""

    name: str
    """In words, as the table shows it."""
    run: Callable[[int, Path], Round]
    """Does the round of this seed in this empty directory. Raises Impossible if this host cannot do it."""
    long: int
    """Rounds on demand: together with the part's other faults in under an hour on two cores."""
    short: int = 1
    """Rounds in the suite; 0 if even one takes too long."""
    unit: str = "rounds"
    """What `cases` counts."""
    takes_apt: bool = False
    """It installs what it needs, so it runs beside no other that does."""


class Impossible(Exception):
    """This host cannot do it: no root, no loop devices. The words say what is missing."""
