"""What retention costs: a store that stays at its size, and ingest beside retention at work.

    python -m bench.retention [--quick] [--content-mb 64] [--times 10] [--rate 1000] [--seconds 30] [--repeats 3]

*Steady*: a store is written with so many times the bodies that may stay, by the writer alone, as a server would: each
step of retention goes with a group. Does the file stop growing, and are the last commits as fast as the first?

*Ingest*: an open loop beside a server that keeps everything, and beside one that keeps 64 KiB of bodies; in turns.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench import latency, report
from bench.child import LOAD_CORE, SERVER_CORE, pin
from bench.peers import tidegate
from bench.workload import SEED, track
from storage.check.verify import verify
from storage.deliveries import WHOLE_ITEM, Deliveries, NumberedDeliveries
from storage.lmdb_store.environment import Store
from storage.model import Append, Group, StatusChange
from storage.removal import Removal
from storage.retain.planner import Planner
from storage.retain.policy import Retention
from storage.statuses import EventStatus
from storage.store_time import HostTime
from storage.write.writer import Writer

HOUR_MS = 3_600_000
START_MS = 1_750_000_000_000
PARTS = 10
"""Of a steady run, shown one by one."""
SHAPES = {"singles, 20 a group": (20, 1), "batches of 1000": (1, 1000)}
"""Deliveries in a group, and events in each."""
DEAD_SHARE = 0.005
"""Of the deliveries, in which one event is dead."""
PASS_GROUPS = 50
"""Groups between two looks at what was kept."""
BODIES_KEPT = 64 << 10
"""So few that each pass finds what came since the one before."""


def steady(path: Path, shape: tuple[int, int], content_bytes: int, times: int) -> dict[str, Any]:
    """File size, bytes in use and commit times of each part. Raises RuntimeError where verify finds something."""
    rng = random.Random(SEED)
    now_ms = START_MS
    store = Store.open(path, map_size_bytes=64 << 30, mode="write")
    parts: list[dict[str, Any]] = []
    try:
        writer, planner = Writer(store, lambda: HostTime(now_ms, now_ms, b"b" * 16)), Planner(store)
        groups, written = _groups(rng, shape, writer), 0
        policy = Retention(
            archive_ms=1 << 50, archive_bytes_max=content_bytes, receipt_ms=2 * HOUR_MS, dead_ms=2 * HOUR_MS
        )
        ended: tuple[StatusChange, ...] = ()
        removal: Removal | None = None
        for part in range(PARTS):
            commits, plans, steps = list[float](), list[float](), 0
            while written < content_bytes * times * (part + 1) // PARTS:
                appends, size = next(groups)
                began = time.perf_counter()
                writer.write(Group(appends, ended, removal=removal))
                commits.append(time.perf_counter() - began)
                ended = tuple(_ended(rng, appends, writer.clock.now_ms()))
                written += size
                now_ms += size * HOUR_MS // content_bytes
                began = time.perf_counter()
                removal = planner.plan(policy, writer.clock.now_ms(), new_pass=len(plans) % PASS_GROUPS == 0)
                plans.append(time.perf_counter() - began)
                steps += not removal.is_empty
            parts.append(_part(store, path, commits, plans, steps))
            report.say(f"part {part + 1}: {parts[-1]}")
    finally:
        store.close()
    if problems := verify(path).problems:
        raise RuntimeError(f"the store is not right: {problems[0]}")
    return {"content_mb": content_bytes / 1e6, "times": times, "parts": parts}


def _groups(rng: random.Random, shape: tuple[int, int], writer: Writer) -> Iterator[tuple[list[Append], int]]:
    """Deliveries of events as senders send them, and the bytes of their bodies as they are stored, about."""
    requests, events = shape
    while True:
        first, appends, size = writer.next_number, [], 0
        for _ in range(requests):
            items = [track(rng) for _ in range(events)]
            body = orjson.dumps({"batch": items})
            numbered = _delivery(first, [str(item["messageId"]) for item in items], body)
            appends.append(Append(numbered, events, EventStatus.DEFERRED, writer.clock.now_ms()))
            first, size = numbered.end, size + len(body) // 4
        yield appends, size


def _delivery(first: int, ids: Sequence[str], body: bytes) -> NumberedDeliveries:
    count = len(ids)
    columns = Deliveries(
        source_id="segment",
        source_type="segment",
        received_at_ms=[START_MS],
        remote_addrs=["127.0.0.1"],
        headers=[{"content-type": "application/json"}],
        sent_at=[None],
        batched=[True],
        batch_sizes=[count],
        rejected=[()],
        counts=[count],
        bodies=[body],
        body_hashes=(),
        ids=ids,
        id_from=["body.messageId"] * count,
        provider_ids=ids,
        types=["track"] * count,
        indexes=list(range(count)),
        payload_from=[WHOLE_ITEM] * count,
        unsigned=[""] * count,
    )
    return NumberedDeliveries(first, "abcdef", columns)


def _ended(rng: random.Random, appends: Sequence[Append], store_ms: int) -> Iterator[StatusChange]:
    """An event dies now and then; all others are processed."""
    numbers = [number for each in appends for number in range(each.numbered.first, each.numbered.end)]
    dead = {each.numbered.first for each in appends if rng.random() < DEAD_SHARE}
    for status, chosen in ((EventStatus.PROCESSED, set(numbers) - dead), (EventStatus.DEAD, dead)):
        if chosen:
            details = {number: b'{"error":"it failed"}' for number in chosen if status is EventStatus.DEAD}
            ordered = sorted(chosen)
            yield StatusChange("segment", status, ordered, [1] * len(ordered), START_MS, store_ms, details=details)


def _part(store: Store, path: Path, commits: list[float], plans: list[float], steps: int) -> dict[str, Any]:
    commits.sort()
    return {
        "file_mb": round((path / "data.mdb").stat().st_size / 1e6, 1),
        "used_mb": round(store.used_bytes() / 1e6, 1),
        "commit_p50_ms": round(statistics.median(commits) * 1000, 2),
        "commit_p99_ms": round(commits[len(commits) * 99 // 100] * 1000, 2),
        "plan_ms": round(statistics.fmean(plans) * 1000, 2),
        "groups": len(commits),
        "steps": steps,
    }


def ingest(rate: float, seconds: float, repeats: int, core: int | None = SERVER_CORE) -> dict[str, Any]:
    """Latencies and CPU of both servers, medians of runs in turns."""
    servers = {
        "keeps all": tidegate(more="[retention]\narchive_hours = 0\nreceipt_hours = 0"),
        "keeps 64 KiB": tidegate(more=f"[retention]\narchive_bytes_max = {BODIES_KEPT}"),
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    for _ in range(repeats):
        for name, server in servers.items():
            runs[name].append(latency.run_once(server, rate, seconds, core))
            report.say(f"{name}: {runs[name][-1]}")
    return {
        name: {key: round(statistics.median(run[key] for run in each), 3) for key in each[0]} | {"runs": each}
        for name, each in runs.items()
    }


def table(found: dict[str, Any]) -> str:
    """Markdown: each part of the steady stores, then both servers."""
    lines = ["| store | part | file MB | in use MB | commit p50 ms | p99 ms | plan ms |", "| --- |" + " ---: |" * 6]
    for name, run in found["steady"].items():
        lines += [
            f"| {name} | {place + 1} | {part['file_mb']:.0f} | {part['used_mb']:.0f} | {part['commit_p50_ms']:.1f} "
            f"| {part['commit_p99_ms']:.1f} | {part['plan_ms']:.1f} |"
            for place, part in enumerate(run["parts"])
        ]
    lines += ["", "| server | p50 ms | p99 ms | p99.9 ms | CPU µs a request |", "| --- |" + " ---: |" * 4]
    lines += [
        f"| {name} | {run['p50_ms']:.2f} | {run['p99_ms']:.2f} | {run['p99_9_ms']:.2f} "
        f"| {run['cpu_us_per_request']:.0f} |"
        for name, run in found["ingest"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--quick", action="store_true", help="16 MB, one run of 15 s each: for a first look")
    parser.add_argument("--content-mb", type=report.whole_above_zero, help="of bodies that may stay (default: 64)")
    parser.add_argument("--times", type=report.whole_above_zero, default=10, help="of that is written (default: 10)")
    parser.add_argument("--rate", type=report.above_zero, default=1000, help="requests a second (default: 1000)")
    parser.add_argument("--seconds", type=report.above_zero, help="of load in each run (default: 30)")
    parser.add_argument("--repeats", type=report.whole_above_zero, help="runs of each server (default: 3)")
    options = parser.parse_args()
    quick = options.quick
    content = (options.content_mb or (16 if quick else 64)) * 10**6
    found: dict[str, Any] = {"steady": {}}
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            found["steady"][name] = steady(Path(directory) / "data", shape, content, options.times)
    pin(LOAD_CORE)
    seconds = options.seconds or (15 if quick else 30)
    found["ingest"] = ingest(options.rate, seconds, options.repeats or (1 if quick else 3))
    print(table(found))
    name = "retention-part" if quick else "retention"
    report.say(str(report.write(found, options.results, name, vars(options))))


if __name__ == "__main__":
    main()
