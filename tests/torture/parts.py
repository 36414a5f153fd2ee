"""Which parts there are: each is a file beside this one, with FAULTS."""

from collections.abc import Sequence
from importlib import import_module

from tests.torture.fault import Fault

PARTS: tuple[str, ...] = (
    "kills",
    "signals",
    "processors",
    "retention",
    "power",
    "errors",
    "disks",
    "damage",
    "resources",
    "fuzz",
    "floods",
    "overload",
    "soak",
    "moments",
)
"""In the order of the table."""


def faults_of(part: str) -> Sequence[Fault]:
    found: Sequence[Fault] = import_module(f"tests.torture.{part}").FAULTS
    return found
