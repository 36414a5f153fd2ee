"""What Tidegate costs as its store grows: throughput, commits, start and memory with so many known ids.

    python -m bench.growth [--quick] [--known 0,1000000,10000000] [--bulk-gb 4] [--seconds 5] [--repeats 3]

The stores are made first: an empty one, one for each number of known ids, and the last of them again with so many more
GB of events that hardly compress. In each repeat all stores take their turn, each as a copy, so every run finds its
store as it was made. Last, memory with the most known ids and full queues.
"""

import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import books, filled, full_queues, goals, report, wrk
from bench.closed_loop import CORES, WARM_SECONDS, Cores, Run, median, stretch, unanswered
from bench.handshake import ACCEPTED, shake
from bench.micro import SOURCE
from bench.peers import PEERS
from bench.starting import Start, start
from bench.workload import SEED, WORKLOADS

LOADS = ("single Segment", "batches of 100", "batches of 1000")


@dataclass(frozen=True, slots=True)
class Made:
    """A store to start from."""

    title: str
    known: int
    path: Path | None
    """None: a new one."""

    def used_gb(self) -> float:
        return (self.path / "data.mdb").stat().st_size / 1e9 if self.path else 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One server on one store."""

    start: Start
    anonymous_mb: float
    """With the index of all known ids, before any load."""
    loads: dict[str, Run]
    checks: dict[str, object]


def make(directory: Path, known: Sequence[int], bulk_gb: float) -> Iterator[Made]:
    """The stores, each from a copy of the one before; `known` rises."""
    last = Made("empty", 0, None)
    for count in known:
        if count > 0:
            path = _grown(directory / f"{count}", last)
            filled.fill(path, count - last.known, SEED + 1 + count)
            last = Made(f"{count / 1e6:g} M ids", count, path)
        yield last
    if bulk_gb:
        path = _grown(directory / "bulk", last)
        count = last.known + filled.fill_up(path, round((last.used_gb() + bulk_gb) * 1e9), SEED)
        yield Made(f"{count / 1e6:.1f} M ids, {last.used_gb() + bulk_gb:.0f} GB", count, path)


def _grown(path: Path, last: Made) -> Path:
    if last.path is not None:
        filled.copy(last.path, path)
    return path


def turn(made: Made, pools: Sequence[wrk.Pool], seconds: float, warm_seconds: float, cores: Cores) -> Turn:
    """Raises RuntimeError where what was known or acknowledged is not in the store at the end."""
    server = PEERS["tidegate"]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        if made.path is not None:
            filled.copy(made.path, directory / "data")
        child, port, times = start(server, directory, cores[0])
        try:
            anonymous = child.status_kb("RssAnon") / 1024
            shake(port)
            loads: dict[str, Run] = {}
            serial = 0
            for pool in pools:
                run = stretch(
                    server, child, port, pool, seconds, warm_seconds=warm_seconds, core=cores[1], start=serial
                )
                loads[pool.workload.name], serial = run, run.last_serial
            child.stop()
        finally:
            child.kill()
        acknowledged = made.known + ACCEPTED[SOURCE.id] + sum(run.acknowledged for run in loads.values())
        missing = sum(unanswered(pool.workload) for pool in pools)
        checks = books.check(directory / "data", {SOURCE.id: acknowledged}, missing)
    return Turn(times, anonymous, loads, checks)


def measure(
    stores: Sequence[Made],
    directory: Path,
    *,
    loads: Sequence[str] = LOADS,
    seconds: float,
    warm_seconds: float = WARM_SECONDS,
    repeats: int = 1,
    cores: Cores = CORES,
) -> dict[str, dict[str, Any]]:
    """By store, medians, with every turn."""
    pools = [wrk.write_pool(each, directory / each.name) for each in WORKLOADS if each.name in loads]
    turns: dict[str, list[Turn]] = {made.title: [] for made in stores}
    for _ in range(repeats):
        for made in stores:
            turns[made.title].append(turn(made, pools, seconds, warm_seconds, cores))
            report.say(f"{made.title}: {_rates(turns[made.title][-1])}")
    found = {made.title: _medians(made, turns[made.title]) for made in stores}
    for each in found.values():
        if each["known"] and "empty" in found:
            more = each["anonymous_mb"] - found["empty"]["anonymous_mb"]
            each["memory_bytes_per_id"] = round(more * 2**20 / each["known"], 1)
    return found


def _rates(done: Turn) -> str:
    return ", ".join(f"{name} {run.events_per_second:,.0f}/s" for name, run in done.loads.items())


def _medians(made: Made, turns: Sequence[Turn]) -> dict[str, Any]:
    starts = [asdict(each.start) for each in turns]
    return {
        "known": made.known,
        "store_gb": round(made.used_gb(), 2),
        **{name: round(statistics.median(each[name] for each in starts), 3) for name in starts[0]},
        "anonymous_mb": round(statistics.median(each.anonymous_mb for each in turns), 1),
        "loads": {name: median([each.loads[name] for each in turns]) for name in turns[0].loads},
        "starts": starts,
        "checks": [each.checks for each in turns],
    }


def table(growth: dict[str, dict[str, Any]]) -> str:
    """Markdown: the stores, and what each does under each load."""
    stores = ["| store | GB | ready s | consumers s | RssAnon MB | bytes an id |", "| --- |" + " ---: |" * 5]
    loads = ["| store | load | events/s | CPU µs an event | core | commit p50 ms | p99 ms |"]
    loads.append("| --- | --- |" + " ---: |" * 5)
    for title, found in growth.items():
        memory = f"{found['anonymous_mb']:.0f} | {found.get('memory_bytes_per_id', '')}"
        times = f"{found['ready_seconds']:.2f} | {found['consuming_seconds']:.2f}"
        stores.append(f"| {title} | {found['store_gb']:.1f} | {times} | {memory} |")
        for name, load in found["loads"].items():
            rate = f"{load['events_per_second']:,.0f} | {load['cpu_us_per_event']:.1f} | {load['core_share']:.0%}"
            commits = f"{load['commit_p50_ms']:.1f} | {load['commit_p99_ms']:.1f}"
            loads.append(f"| {title} | {name} | {rate} | {commits} |")
    return "\n".join([*stores, "", *loads])


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 1 M ids, one run of 2 s each: for a first look")
    parser.add_argument("--known", type=report.rising, help="rising numbers of ids (default: 0,1000000,10000000)")
    parser.add_argument("--bulk-gb", type=float, help="of events in the largest store (default: 4; 0: no such store)")
    parser.add_argument("--seconds", type=report.above_zero, help="of each load (default: 5)")
    parser.add_argument("--repeats", type=report.whole_above_zero, help="turns of each store (default: 3)")
    options = parser.parse_args()
    quick = options.quick
    known = options.known or ([0, 1_000_000] if quick else [0, 1_000_000, 10_000_000])
    bulk = options.bulk_gb if options.bulk_gb is not None else 0 if quick else 4
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        stores = list(make(directory, known, bulk))
        seconds, repeats = options.seconds or (2 if quick else 5), options.repeats or (1 if quick else 3)
        growth = measure(stores, directory, seconds=seconds, repeats=repeats)
        print(table(growth))
        most = next(each for each in stores if each.known == known[-1])
        queues = full_queues.measure(most.path, most.known)
    results = {"growth": growth, "full_queues": queues}
    part = quick or options.known or options.bulk_gb is not None
    path = report.write(results, options.results, "growth-part" if part else "growth", vars(options))
    print(f"\nRssAnon with full queues and {most.title}: {queues['anonymous_mb_peak']:.0f} MB")
    if reached := goals.table([json.loads(path.read_text())]):
        print(f"\n{reached}")
    report.say(str(path))


if __name__ == "__main__":
    main()
