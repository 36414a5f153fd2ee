"""What one server does: events/s, latency and memory, for single events and for batches.

    python -m bench.measure [--seconds 10] [--connections 256] [--core 0]

Starts `tidegate serve` with a store of its own in a temporary directory, sends to it in a closed loop of Python's, and
prints one line a workload as JSON. Each line ends with what the store says: every acknowledged event is there, nothing
pending. Needs nothing but Tidegate; beside its peers, and faster than Python can send: bench/compare.py.
"""

import argparse
import json
import os
import random
import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from bench import books, report
from bench.load import Load, closed, post
from bench.peers import PEERS
from bench.workload import SEED, TOKEN, WORKLOADS, Workload, bodies, with_serial

NAMES = ("single webhook", "single Segment", "batches of 100", "batches of 1000")

POOL_EVENTS = 5000
"""Distinct events made ahead; sent again and again with other ids."""


def requests(workload: Workload, rng: random.Random) -> Iterator[bytes]:
    """Requests for ever, each with ids of its own."""
    made = bodies(workload.kind, workload.events, rng)
    pool = [post(workload.kind, TOKEN, next(made)) for _ in range(max(1, POOL_EVENTS // workload.events))]
    for serial, request in enumerate(cycle(pool)):
        yield with_serial(request, serial)


def measure(workload: Workload, seconds: float, connections: int, core: int | None) -> dict[str, object]:
    """One workload against a fresh server. Raises RuntimeError where its store is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        child, port = PEERS["tidegate"].start(directory, core)
        try:
            before = child.cpu_seconds()
            load = closed(port, requests(workload, random.Random(SEED)), connections, seconds)
            cpu = child.cpu_seconds() - before
            behind = books.catch_up(directory / "data")
            memory = {
                key: child.status_kb(line) // 1024 for key, line in (("rss_mb", "VmRSS"), ("anonymous_mb", "RssAnon"))
            }
            child.stop()
        finally:
            child.kill()
        checks = books.check(directory / "data", {workload.kind: load.answered * workload.events})
    return (
        {"workload": workload.name}
        | figures(load, workload.events, cpu)
        | {"catch_up_seconds": round(behind, 2)}
        | memory
        | checks
    )


def figures(load: Load, events: int, cpu_seconds: float) -> dict[str, object]:
    count = load.answered * events
    return {
        "events_per_second": round(count / load.seconds),
        "requests_per_second": round(load.answered / load.seconds),
        "p50_ms": round(load.percentile(0.5), 2),
        "p99_ms": round(load.percentile(0.99), 2),
        "cpu_us_per_event": round(cpu_seconds / max(1, count) * 1e6, 2),
        "refused": load.refused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=report.above_zero, default=10, help="of load for each workload (default: 10)")
    parser.add_argument(
        "--connections",
        type=report.whole_above_zero,
        help="open at a time (default: as many as in the comparison, fewer for larger batches)",
    )
    parser.add_argument(
        "--core",
        type=int,
        choices=sorted(os.sched_getaffinity(0)),
        help="pin the server to this core, the load to the others",
    )
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {options.core})
    for workload in WORKLOADS:
        if workload.name in NAMES:
            said = measure(workload, options.seconds, options.connections or workload.connections, options.core)
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
