"""Tidegate beside its peers: the same requests, the same core, by turns; medians, and ratios first.

    python -m bench.compare [--quick] [--seconds N] [--repeats N] [--peers a,b] [--workloads 'NAME;NAME']

The server has one core to itself, wrk another. Each run starts a server with an empty store, warms it up, and ends
with a check of the store where that is Tidegate's. Results go to bench/results, dated, with machine and versions.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import books, report, wrk
from bench.child import LOAD_CORE, SERVER_CORE
from bench.handshake import ACCEPTED, shake
from bench.peers import PEERS, Peer
from bench.workload import WORKLOADS, Workload

NO_LOAD = wrk.Closed(0, 0, 0, 0, 0, 0)

QUICK = ("single webhook", "single Segment", "batches of 100", "batches of 1000")

WARM_SECONDS = 1
"""Before each measured stretch: connections, caches, the JIT of the peers that have one."""


@dataclass(frozen=True, slots=True)
class Run:
    """One server under one load."""

    events_per_second: float
    cpu_us_per_event: float
    core_share: float
    """Of its core, that the server used. Well below 1 under a closed loop: something else ran there."""
    p50_ms: float
    p99_ms: float
    refused: int
    anonymous_mb: int
    catch_up_seconds: float
    checks: dict[str, object]


def run_once(
    peer: Peer,
    workload: Workload,
    pool: Path,
    seconds: float,
    warm_seconds: float,
    *,
    cores: tuple[int | None, int | None] = (SERVER_CORE, LOAD_CORE),
) -> Run:
    """A fresh server, a warm-up, the load, the checks. Raises RuntimeError where a check fails."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        child, port = peer.start(directory, cores[0])
        try:
            if peer.same_job:
                shake(port)
            warm = wrk.run(workload, pool, port, warm_seconds, core=cores[1]) if warm_seconds else NO_LOAD
            if peer.tidegate:
                books.catch_up(directory / "data", workload.kind)
            before = child.cpu_seconds()
            load = wrk.run(workload, pool, port, seconds, core=cores[1], start=warm.requests + workload.connections)
            behind = books.catch_up(directory / "data", workload.kind) if peer.tidegate else 0.0
            cpu = child.cpu_seconds() - before
            memory = child.status_kb("RssAnon") // 1024
            child.stop()
        finally:
            child.kill()
        checks: dict[str, object] = {}
        if peer.tidegate:
            answered = warm.requests - warm.refused + load.requests - load.refused
            acknowledged = answered * workload.events + ACCEPTED[workload.kind]
            unanswered = 2 * workload.connections * workload.events
            checks = books.check(directory / "data", workload.kind, acknowledged, unanswered)
    if load.broken:
        raise RuntimeError(f"{peer.title}: {load.broken} connections broke")
    events = (load.requests - load.refused) * workload.events
    return Run(
        events / load.seconds,
        cpu / max(1, events) * 1e6,
        cpu / (load.seconds + behind),
        load.p50_ms,
        load.p99_ms,
        load.refused,
        memory,
        behind,
        checks,
    )


def compare(peers: Sequence[str], workloads: Sequence[Workload], repeats: int, seconds: float) -> report.Results:
    """Every peer under every workload; in each repeat all peers take their turn, so that a slow minute hits all."""
    results: report.Results = {}
    for workload in workloads:
        # nginx answers before it has read a large body, and wrk then sends something else than it should.
        names = [name for name in peers if name != "nginx" or workload.events == 1]
        runs: dict[str, list[Run]] = {name: [] for name in names}
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            pool = Path(directory) / "pool"
            wrk.write_pool(workload, pool)
            for _ in range(repeats):
                for name in names:
                    run = run_once(PEERS[name], workload, pool, seconds, WARM_SECONDS)
                    report.say(f"{workload.name}: {PEERS[name].title}: {run.events_per_second:,.0f} events/s")
                    runs[name].append(run)
        results[workload.name] = {name: median(each) for name, each in runs.items()}
        report.say(report.table({workload.name: results[workload.name]}))
    return results


def median(runs: Sequence[Run]) -> dict[str, object]:
    """The median of each figure, and all runs."""
    figures = (
        "events_per_second",
        "cpu_us_per_event",
        "core_share",
        "p50_ms",
        "p99_ms",
        "anonymous_mb",
        "catch_up_seconds",
    )
    said: dict[str, object] = {
        name: round(statistics.median(getattr(run, name) for run in runs), 3) for name in figures
    }
    return said | {"refused": sum(run.refused for run in runs), "runs": [asdict(run) for run in runs]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four workloads, one run of 2 s each: for a first look")
    parser.add_argument("--seconds", type=float, help="of load in each run (default: 10)")
    parser.add_argument("--repeats", type=int, help="runs of each (default: 3)")
    parser.add_argument("--peers", help=f"some of {','.join(PEERS)} (default: all)")
    parser.add_argument("--workloads", help="names, with semicolons between them (default: all)")
    parser.add_argument("--results", type=Path, default=report.DIRECTORY, help="where the results go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # through every `finally`
    wanted = options.workloads.split(";") if options.workloads else QUICK if options.quick else None
    workloads = [each for each in WORKLOADS if wanted is None or each.name in wanted]
    seconds = options.seconds or (2 if options.quick else 10)
    repeats = options.repeats or (1 if options.quick else 3)
    started = time.monotonic()
    results = compare(report.chosen(options.peers), workloads, repeats, seconds)
    print(report.table(results))
    part = options.quick or options.peers or options.workloads
    name = "compare-part" if part else "compare"
    path = report.write({"closed_loop": results}, options.results, name, vars(options))
    report.say(f"{time.monotonic() - started:.0f} s; {path}")


if __name__ == "__main__":
    main()
