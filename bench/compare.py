"""Tidegate beside its peers: the same requests, the same core, by turns; medians, and ratios first.

    python -m bench.compare [--quick] [--seconds N] [--repeats N] [--peers a,b] [--workloads 'NAME;NAME']

The server has one core to itself, wrk another. Each run starts a server with an empty store, warms it up, and ends
with a check of the store where that is Tidegate's. Results go to bench/results, dated, with machine and versions.
A run that fails is named there and at the end, which is then 1; medians are of the others.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import report, wrk
from bench.closed_loop import Run, median, run_once
from bench.peers import PEERS
from bench.workload import WORKLOADS, Workload

QUICK = ("single webhook", "single Segment", "batches of 100", "batches of 1000")

REASON_CHARACTERS_MAX = 2000
"""Of a failed run: a reason may end with all that the server said, the cause last."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A run without figures."""

    workload: str
    peer: str
    reason: str

    def __str__(self) -> str:
        return f"{self.workload}: {PEERS[self.peer].title}: failed: {self.reason}"


def compare(
    peers: Sequence[str], workloads: Sequence[Workload], repeats: int, seconds: float, failed: list[Failed]
) -> Iterator[tuple[str, dict[str, dict[str, object]]]]:
    """By workload; in each repeat all peers take their turn, so that a slow minute hits all of them. Runs that fail are
    added to `failed`; a peer all of whose runs did has no figures."""
    for workload in workloads:
        # nginx answers before it has read a large body, and wrk then sends something else than it should.
        names = [name for name in peers if name != "nginx" or workload.events == 1]
        runs: dict[str, list[Run]] = {name: [] for name in names}
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            pool = wrk.write_pool(workload, Path(directory) / "pool")
            for _ in range(repeats):
                for name in names:
                    try:
                        run = run_once(PEERS[name], pool, seconds)
                    except Exception as error:  # noqa: BLE001  # recorded: no failure takes other runs along
                        failed.append(Failed(workload.name, name, _reason(error)))
                        report.say(str(failed[-1]))
                        continue
                    report.say(f"{workload.name}: {PEERS[name].title}: {run.events_per_second:,.0f} events/s")
                    runs[name].append(run)
        yield workload.name, {name: median(each) for name, each in runs.items() if each}


def _reason(error: Exception) -> str:
    said = f"{error}\n{error.stderr}" if isinstance(error, subprocess.CalledProcessError) else str(error)
    return f"{type(error).__name__}: {said[-REASON_CHARACTERS_MAX:]}"


def main() -> None:
    parser = report.options(__doc__)
    names = [each.name for each in WORKLOADS]
    parser.add_argument("--quick", action="store_true", help="four workloads, one run of 2 s each: for a first look")
    parser.add_argument("--seconds", type=report.above_zero, help="of load in each run (default: 10)")
    parser.add_argument("--repeats", type=report.whole_above_zero, help="runs of each (default: 3)")
    parser.add_argument(
        "--peers", type=report.some_of(list(PEERS), ","), help=f"some of {','.join(PEERS)} (default: all)"
    )
    parser.add_argument(
        "--workloads",
        type=report.some_of(names, ";"),
        help=f"some of {';'.join(names).replace('%', '%%')} (default: all)",
    )
    options = parser.parse_args()
    wanted = options.workloads or (QUICK if options.quick else names)
    workloads = [each for each in WORKLOADS if each.name in wanted]
    seconds = options.seconds or (2 if options.quick else 10)
    repeats = options.repeats or (1 if options.quick else 3)
    started = time.monotonic()
    results: report.Results = {}
    failed: list[Failed] = []
    print(report.HEAD)
    try:
        for workload, peers in compare(report.built(options.peers or list(PEERS)), workloads, repeats, seconds, failed):
            results[workload] = peers
            if peers:
                print(report.rows(workload, peers), flush=True)
    finally:  # whatever ends it early: what was measured is kept
        is_whole = len(results) == len(workloads) and all(each.peer in results[each.workload] for each in failed)
        part = options.quick or options.peers or options.workloads or not is_whole
        name = "compare-part" if part else "compare"
        said = {"closed_loop": results, "failed": [asdict(each) for each in failed]}
        path = report.write(said, options.results, name, vars(options))
        report.say("\n".join((*map(str, failed), f"{time.monotonic() - started:.0f} s; {path}")))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
