"""The first rounds of every fault; `python -m tests.torture` does many."""

from pathlib import Path

import pytest

from tests.torture.fault import Fault, Impossible
from tests.torture.parts import PARTS, faults_of

BESIDE_NO_OTHER = pytest.mark.xdist_group("bench")

FAULTS = [
    pytest.param(
        fault,
        seed,
        id=f"{part}-{fault.name.replace(' ', '-')}-{seed}",
        marks=BESIDE_NO_OTHER if fault.takes_apt else (),
    )
    for part in PARTS
    for fault in faults_of(part)
    for seed in range(fault.short)
]


@pytest.mark.parametrize(("fault", "seed"), FAULTS)
def test_a_fault_loses_and_doubles_nothing(fault: Fault, seed: int, tmp_path: Path) -> None:
    """Whatever is done to a server, what it acknowledged is there once, and verify finds nothing."""
    try:
        found = fault.run(seed, tmp_path)
    except Impossible as error:
        pytest.skip(str(error))
    assert found.good, found
    assert found.acknowledged
