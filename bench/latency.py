"""Latency at everyday load: an open loop, so many requests a second whatever the server does.

    python -m bench.latency [--quick] [--rates 1000,3000] [--seconds 10] [--repeats 3] [--peers a,b]

A latency counts from the time at which the request was due. The generator has a core of its own; nginx says what it
adds itself. After each run of Tidegate every acknowledged id is looked for in its store.
"""

import gc
import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

from bench import books, report
from bench.child import LOAD_CORE, SERVER_CORE, pin
from bench.load import Load, opened, post
from bench.peers import PEERS, Peer
from bench.workload import SEED, SERIAL, TOKEN, single_track, with_serial

SOURCE = "segment"
CONNECTIONS = 64
POOL = 2000
WARM_SECONDS = 1.0
PEERS_USED = ("tidegate", "go", "granian", "nginx")
FIGURES = (("p50_ms", 0.5), ("p99_ms", 0.99), ("p99_9_ms", 0.999))


class Sender:
    """Requests for ever, and which ids were in them."""

    def __init__(self) -> None:
        rng = random.Random(SEED)
        self._pool = [post(SOURCE, TOKEN, single_track(rng)) for _ in range(POOL)]
        self.sent = 0

    def requests(self) -> Iterator[bytes]:
        for request in cycle(self._pool):
            self.sent += 1
            yield with_serial(request, self.sent)

    def ids(self) -> Iterator[str]:
        """Of all requests so far."""
        ids = [_id_in(request) for request in self._pool]
        for serial in range(1, self.sent + 1):
            yield f"{serial:08x}-{ids[(serial - 1) % POOL]}"


def _id_in(request: bytes) -> str:
    rest = request.partition(SERIAL.encode())[2]
    return rest.partition(b'"')[0].decode()


def run_once(peer: Peer, per_second: float, seconds: float, server_core: int | None = SERVER_CORE) -> dict[str, float]:
    """One server at one rate. Raises RuntimeError where an answer was no 200, or an acknowledged event is missing."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        child, port = peer.start(directory, server_core)
        sender = Sender()
        requests = sender.requests()
        try:
            load_at(port, requests, WARM_SECONDS, per_second)
            before = child.cpu_seconds()
            load = load_at(port, requests, seconds, per_second)
            cpu = child.cpu_seconds() - before
            if peer.tidegate:
                books.catch_up(directory / "data")
            child.stop()
        finally:
            child.kill()
        if load.refused:
            raise RuntimeError(f"{peer.title}: {load.refused} answers were no 200")
        if peer.tidegate:
            books.check(directory / "data", {SOURCE: sender.sent})
            books.check_ids(directory / "data", SOURCE, sender.ids())
    found = {name: load.percentile(share) for name, share in FIGURES}
    return found | {"cpu_us_per_request": cpu / max(1, load.answered) * 1e6, "per_second": load.answered / load.seconds}


def load_at(port: int, requests: Iterator[bytes], seconds: float, per_second: float) -> Load:
    """The generator's own collector is off meanwhile: its pauses would be counted as the server's."""
    gc.disable()
    try:
        return opened(port, requests, CONNECTIONS, seconds, per_second)
    finally:
        gc.enable()


def measure(names: Sequence[str], rates: Sequence[float], seconds: float, repeats: int) -> report.Results:
    """By rate and peer, medians of all figures; peers take turns."""
    pin(LOAD_CORE)
    results: report.Results = {}
    for rate in rates:
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(repeats):
            for name in names:
                runs[name].append(run_once(PEERS[name], rate, seconds))
        results[f"{rate:.0f} requests/s"] = {
            name: {key: round(statistics.median(run[key] for run in each), 3) for key in each[0]} | {"runs": each}
            for name, each in runs.items()
        }
    return results


def table(results: report.Results) -> str:
    """Markdown: Tidegate's share of each peer's p99 first."""
    lines = ["| open loop | server | Tidegate's p99 to its | p50 ms | p99 ms | p99.9 ms | CPU µs a request |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for load, peers in results.items():
        ours = peers.get("tidegate", {}).get("p99_ms")
        for name, found in peers.items():
            ratio = "" if ours is None or name == "tidegate" else f"{ours / found['p99_ms']:.2f} ×"
            lines.append(
                f"| {load} | {PEERS[name].title} | {ratio} | {found['p50_ms']:.2f} | {found['p99_ms']:.2f} "
                f"| {found['p99_9_ms']:.2f} | {found['cpu_us_per_request']:.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--quick", action="store_true", help="one run of 3 s each: for a first look")
    parser.add_argument(
        "--rates", type=report.rates, default="1000,3000", help="requests a second (default: 1000,3000)"
    )
    parser.add_argument("--seconds", type=report.above_zero, help="of load in each run (default: 10)")
    parser.add_argument("--repeats", type=report.whole_above_zero, help="runs of each (default: 3)")
    parser.add_argument("--peers", type=report.some_of(list(PEERS), ","), help=f"some of {','.join(PEERS)}")
    options = parser.parse_args()
    seconds = options.seconds or (3 if options.quick else 10)
    repeats = options.repeats or (1 if options.quick else 3)
    results = measure(report.built(options.peers or PEERS_USED), options.rates, seconds, repeats)
    print(table(results))
    name = "latency-part" if options.quick or options.peers else "latency"
    report.say(str(report.write({"open_loop": results}, options.results, name, vars(options))))


if __name__ == "__main__":
    main()
