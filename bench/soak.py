"""Does memory grow while nothing else does? Steady mixed load for some minutes, RssAnon sampled.

    python -m bench.soak [--minutes 10] [--rate 500]

Every id is new but for a share of duplicates, so the known ids rise all the time: `dedup.memory_ids_max` is low here,
so that the older ones go into files and memory has nothing to grow with. Single webhooks, single Segment events,
batches of 10, of 100 with duplicates, and gzip'd ones come in an open loop, on connections that are made anew every few
seconds. The run ends with all that was acknowledged in the store.
"""

import gzip
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from bench import books, goals, report
from bench.child import LOAD_CORE, SERVER_CORE, pin
from bench.load import opened, post
from bench.peers import tidegate
from bench.workload import SEED, TOKEN, WORKLOADS, Workload, bodies, with_serial

MEMORY_IDS_MAX = 100_000
CONNECTIONS = 64
SAMPLE_SECONDS = 2.0
"""Of load between two samples."""
WARM_SHARE = 0.1
"""Of the time, before the first sample: imports, caches, the memory that the allocator keeps."""

MIX = (
    *(["single webhook"] * 8),
    *(["single Segment"] * 8),
    *(["batches of 10"] * 2),
    "batches of 100, 10 % duplicates",
    "batches of 100, gzip",
)
DIFFERENT = 50
"""Bodies of each workload made ahead; each time with other ids."""


class Mixed:
    """Requests for ever, and how many events of each source were in them."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        rng = random.Random(SEED)
        self._pools: dict[str, tuple[Workload, list[bytes]]] = {}
        for workload in WORKLOADS:
            made = bodies(workload.kind, workload.events, rng, workload.repeated)
            self._pools[workload.name] = workload, [next(made) for _ in range(DIFFERENT)]

    def requests(self) -> Iterator[bytes]:
        for serial, name in enumerate(cycle(MIX)):
            workload, pool = self._pools[name]
            body = with_serial(pool[serial % DIFFERENT], serial)
            headers = ""
            if workload.gzip:
                body, headers = gzip.compress(body, compresslevel=1, mtime=0), "Content-Encoding: gzip\r\n"
            self.sent[workload.kind] += workload.events
            yield post(workload.kind, TOKEN, body, headers)


def measure(seconds: float, rate: float, core: int | None = SERVER_CORE) -> dict[str, Any]:
    """Raises RuntimeError where an answer was no 200, or an acknowledged event is missing."""
    mixed = Mixed()
    requests = mixed.requests()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        child, port = tidegate(more=f"[dedup]\nmemory_ids_max = {MEMORY_IDS_MAX}\n").start(directory, core)
        samples: list[tuple[float, float]] = []
        began = time.monotonic()
        try:
            while (now := time.monotonic() - began) < seconds * (1 + WARM_SHARE) or not samples:
                load = opened(port, requests, CONNECTIONS, min(SAMPLE_SECONDS, seconds), rate)
                if load.refused:
                    raise RuntimeError(f"{load.refused} answers were no 200")
                if now > seconds * WARM_SHARE:
                    samples.append((time.monotonic() - began, child.status_kb("RssAnon") / 1024))
            books.catch_up(directory / "data")
            child.stop()
        finally:
            child.kill()
        checks = books.check(directory / "data", mixed.sent)
    return figures(samples) | {"requests_per_second": rate, "checks": checks}


def figures(samples: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """From times in seconds and MB: the slope of the line that fits best, and what first and last quarter say."""
    times, sizes = zip(*samples, strict=True)
    quarter = max(1, len(samples) // 4)
    first, last = statistics.median(sizes[:quarter]), statistics.median(sizes[-quarter:])
    slope = statistics.linear_regression(times, sizes).slope if len(samples) > 1 else 0.0
    return {
        "seconds": round(times[-1] - times[0]),
        "slope_mb_per_minute": round(slope * 60, 3),
        "first_quarter_mb": round(first, 1),
        "last_quarter_mb": round(last, 1),
        "last_quarter_by_first": round(last / first, 3),
        "samples": [(round(at, 1), round(size, 1)) for at, size in samples],
    }


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument(
        "--minutes", type=report.above_zero, default=10, help="of load, after a tenth to warm up (default: 10)"
    )
    parser.add_argument("--rate", type=report.above_zero, default=500, help="requests a second (default: 500)")
    options = parser.parse_args()
    pin(LOAD_CORE)
    said = measure(options.minutes * 60, options.rate)
    print("| minutes | RssAnon, first quarter | last quarter | MB a minute |\n| ---: | ---: | ---: | ---: |")
    quarters = f"{said['first_quarter_mb']:.1f} MB | {said['last_quarter_mb']:.1f} MB"
    print(f"| {said['seconds'] / 60:.1f} | {quarters} | {said['slope_mb_per_minute']:+.2f} |\n")
    path = report.write({"soak": said}, options.results, "soak", vars(options))
    print(goals.table([json.loads(path.read_text())]))
    report.say(str(path))


if __name__ == "__main__":
    main()
