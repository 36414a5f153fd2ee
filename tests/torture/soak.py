"""Half an hour of everything at once (`bench.soak`): nothing lost, nothing doubled, and nothing that grows.

The results are written beside those of the benchmarks too, since they are what the picture is drawn from.
"""

import os
from pathlib import Path

from bench import flat, soak
from bench.child import LOAD_CORE, pin
from bench.report import DIRECTORY
from tests.torture.fault import Fault, Round

MINUTES = 30
REQUESTS_PER_SECOND = 500


def run(_: int, __: Path) -> Round:
    """Soak once, the server and the load on a core each."""
    cores = os.sched_getaffinity(0)
    pin(LOAD_CORE)
    try:
        said = soak.measure(MINUTES * 60, REQUESTS_PER_SECOND)
    finally:
        os.sched_setaffinity(0, cores)
    soak.write(said, DIRECTORY, {"minutes": MINUTES, "rate": REQUESTS_PER_SECOND})
    checks = said["checks"]
    rising = tuple(
        f"rises: {flat.LIMITS[name].words}: {each}" for name, each in said["trends"].items() if not each.flat
    )
    lost, doubled = checks["acknowledged"] - checks["stored"], checks["stored"] - checks["acknowledged"]
    return Round(checks["acknowledged"], max(0, lost), max(0, doubled), rising)


FAULTS = (Fault("30 minutes of everything at once", run, long=1, short=0),)
