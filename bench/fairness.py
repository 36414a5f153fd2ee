"""What a good client feels of heavy ones: its latency alone, and beside connections full of heavy, legal bodies.

    python -m bench.fairness [--quick] [--heavy batches,gzip] [--connections 8,60] [--seconds 10] [--repeats 3]
                             [--servers tidegate,quart]

One good client sends small webhooks, one after the other with a pause between them. Beside it so many connections send
heavy bodies in a closed loop, to a source of their own, from another process. Quiet and busy times alternate. A body
that is read in one go holds everybody up: `one_body_ms` is what the heavy client alone waits for an answer to one.
"""

import gzip
import multiprocessing
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import orjson

from bench import report
from bench.child import LOAD_CORE, SERVER_CORE, pin
from bench.flood import Flood, paced
from bench.load import post
from bench.peers import PEERS, source, tidegate
from bench.workload import SEED, TOKEN, track, webhook

PAUSE_SECONDS = 0.005
WARM_SECONDS = 0.5
OTHERS_NICENESS = 10
"""The other senders share a core with the good client, whose figures they must not spoil."""

BODY_BYTES_MAX = 1048576
DECODED_BYTES_MAX = 4194304
CONTAINERS_MAX = 200_000
BATCH_EVENTS_MAX = 2500
DEPTH_MAX = 249


def _batch() -> bytes:
    """As many events as a batch may have, near the largest body."""
    rng = random.Random(SEED)
    items = [track(rng) for _ in range(BATCH_EVENTS_MAX)]
    for item in items:
        del item["messageId"], item["context"]
    return orjson.dumps({"batch": items})


def _containers() -> bytes:
    return b'{"payload":[%b[]]}' % (b"{}," * (CONTAINERS_MAX - 5))


def _deep() -> bytes:
    each = b"[" * DEPTH_MAX + b"]" * DEPTH_MAX
    return b"[%b]" % b",".join([b'{"a":%b}' % each[1:-1]] * (CONTAINERS_MAX // (DEPTH_MAX + 2)))


def _packed() -> bytes:
    """Numbers and texts that are 4 MiB when they are unpacked."""
    rng = random.Random(SEED)
    values: list[object] = [[rng.randrange(100), f"text {rng.randrange(50)}"] for _ in range(95_000)]
    text = orjson.dumps({"payload": values})
    text = text[:-2] + b',"%b"]}' % (b"x" * (DECODED_BYTES_MAX - len(text) - 4))
    return gzip.compress(text, compresslevel=6, mtime=0)


HEAVY: Mapping[str, Callable[[], bytes]] = {
    "batches": lambda: post("segment", TOKEN, _batch()),
    "containers": lambda: post("heavy", TOKEN, _containers()),
    "deep": lambda: post("heavy", TOKEN, _deep()),
    "gzip": lambda: post("heavy", TOKEN, _packed(), "Content-Encoding: gzip\r\n"),
}
"""Requests at the limits, by name. Without ids: each event gets one of its own."""


def small_requests() -> Iterator[bytes]:
    rng = random.Random(SEED + os.getpid())
    while True:
        yield post("webhook", TOKEN, webhook(rng, f"{time.monotonic_ns():x}-"))


def run_once(
    name: str,
    heavy: str,
    connections: int,
    seconds: float,
    core: int | None = SERVER_CORE,
) -> dict[str, Any]:
    """One server; figures of the good client quiet and busy, and of the heavy ones."""
    peer = tidegate(fast_lane=name == "tidegate", more=source("heavy", "webhook"))
    request = HEAVY[heavy]()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        child, port = peer.start(Path(directory), core)
        try:
            paced(port, small_requests(), WARM_SECONDS, PAUSE_SECONDS)
            alone = paced(port, repeat(request), WARM_SECONDS, PAUSE_SECONDS)
            quiet = paced(port, small_requests(), seconds / 2, PAUSE_SECONDS)
            load_seconds = seconds + 2 * WARM_SECONDS
            with beside(lambda: _send_heavy(port, request, connections, load_seconds)) as found:
                time.sleep(WARM_SECONDS)
                busy = paced(port, small_requests(), seconds, PAUSE_SECONDS)
            memory = child.status_kb("VmHWM") / 1024
            child.stop()
        finally:
            child.kill()
    if others := quiet.others | busy.others | alone.others:
        raise RuntimeError(f"{heavy}: answers of the good client were no 200: {others}")
    return {
        "quiet_p50_ms": quiet.percentile(0.5),
        "quiet_p99_ms": quiet.percentile(0.99),
        "busy_p50_ms": busy.percentile(0.5),
        "busy_p99_ms": busy.percentile(0.99),
        "busy_max_ms": busy.percentile(1),
        "one_body_ms": alone.percentile(0.5),
        "heavy_per_second": found["answered"] / found["seconds"],
        "heavy_others": found["others"],
        "heavy_p50_ms": found["p50_ms"],
        "memory_mb": memory,
    }


@contextmanager
def beside(load: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Run a load in a process of its own during the block and to its end; what it returns is filled in then."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_run_nicely, args=(theirs, load), daemon=True)
    process.start()
    theirs.close()  # if it dies, ours is at its end
    found: dict[str, Any] = {}
    try:
        yield found
        found |= ours.recv()
    finally:
        process.terminate()
        process.join()


def _run_nicely(pipe: Any, load: Callable[[], dict[str, Any]]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(OTHERS_NICENESS)
    pipe.send(load())


def _send_heavy(port: int, request: bytes, connections: int, seconds: float) -> dict[str, Any]:
    with Flood(port, connections) as flood:
        found = flood.closed(repeat(request), seconds)
    others = sum(found.others.values())
    return {
        "answered": found.accepted,
        "others": others,
        "seconds": found.seconds,
        "p50_ms": found.percentile(0.5),
    }


def measure(
    servers: Sequence[str],
    heavy: Sequence[str],
    connections: Sequence[int],
    seconds: float,
    repeats: int,
) -> report.Results:
    """By load and server, medians; servers take turns."""
    results: report.Results = {}
    for kind in heavy:
        for count in connections:
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
            for _ in range(repeats):
                for name in servers:
                    runs[name].append(run_once(name, kind, count, seconds))
                    report.say(f"{kind} {count} {name}: {runs[name][-1]}")
            results[f"{kind} on {count}"] = {
                name: {key: round(statistics.median(run[key] for run in each), 3) for key in each[0]} | {"runs": each}
                for name, each in runs.items()
            }
    return results


def table(results: report.Results) -> str:
    """Markdown: how many times its quiet median the good client waits, first."""
    lines = [
        "| beside | server | busy by quiet | quiet p50 ms | busy p50 ms | busy p99 ms | one body ms | bodies/s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for load, servers in results.items():
        for name, found in servers.items():
            lines.append(
                f"| {load} | {PEERS[name].title} | {found['busy_p50_ms'] / found['quiet_p50_ms']:.1f} × "
                f"| {found['quiet_p50_ms']:.2f} | {found['busy_p50_ms']:.2f} | {found['busy_p99_ms']:.2f} "
                f"| {found['one_body_ms']:.1f} | {found['heavy_per_second']:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--quick", action="store_true", help="one run of 3 s each: for a first look")
    parser.add_argument(
        "--heavy",
        type=report.some_of(list(HEAVY), ","),
        help=f"some of {','.join(HEAVY)}",
    )
    parser.add_argument(
        "--connections",
        type=report.rising,
        default="8,60",
        help="of heavy senders (default: 8,60)",
    )
    parser.add_argument("--seconds", type=report.above_zero, help="of load in each run (default: 10)")
    parser.add_argument("--repeats", type=report.whole_above_zero, help="runs of each (default: 3)")
    parser.add_argument(
        "--servers",
        type=report.some_of(["tidegate", "quart"], ","),
        default="tidegate,quart",
    )
    options = parser.parse_args()
    pin(LOAD_CORE)
    seconds = options.seconds or (3 if options.quick else 10)
    repeats = options.repeats or (1 if options.quick else 3)
    heavy = options.heavy or list(HEAVY)
    results = measure(options.servers, heavy, options.connections, seconds, repeats)
    print(table(results))
    name = "fairness-part" if options.quick or options.heavy else "fairness"
    report.say(str(report.write({"fairness": results}, options.results, name, vars(options))))


if __name__ == "__main__":
    main()
