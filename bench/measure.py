"""What one server does: events/s, latency and memory, for single events and for batches.

    python -m bench.measure [--seconds 10] [--connections 64] [--core 0]

Starts `tidegate serve` with a store of its own in a temporary directory, sends to it in a closed loop, and prints one
line a workload as JSON. Each line ends with what the store says: every acknowledged event is there, nothing pending.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from bench.load import Load, closed, post
from bench.workload import SEED, TOKEN, bodies, with_serial
from storage.environment import Store
from storage.reader import Reader

WORKLOADS = {
    "webhook, single": ("webhook", 1),
    "segment, single": ("segment", 1),
    "segment, batch of 100": ("segment", 100),
    "segment, batch of 1000": ("segment", 1000),
}

POOL_EVENTS = 5000
"""Distinct events made ahead; sent again and again with other ids."""

CATCH_UP_SECONDS = 60
"""Ingest is never slowed by what comes after it, so outcomes may come later than the load ends."""


class Served:
    """A server of its own, in a temporary directory."""

    def __init__(self, directory: Path, core: int | None) -> None:
        self.config = directory / "tidegate.toml"
        self.config.write_text(
            '[server]\nbind = "127.0.0.1:0"\nadmin_bind = "127.0.0.1:0"\n'
            + "".join(f'[sources.{kind}]\ntype = "{kind}"\ntokens = ["{TOKEN}"]\n' for kind in ("webhook", "segment"))
        )
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        self.log = (directory / "log").open("w+b")
        command = [*pinned, sys.executable, "-m", "server", "serve", "--config", str(self.config)]
        self.process = subprocess.Popen(command, stderr=self.log)
        self.store = directory / "data"
        self.port = self._port()

    def _port(self) -> int:
        for _ in range(300):
            found = re.search(rb"http://127.0.0.1:(\d+)/ingest", Path(self.log.name).read_bytes())
            if found:
                return int(found[1])
            time.sleep(0.1)
        raise RuntimeError(Path(self.log.name).read_text())

    def status(self, name: str) -> int:
        """A line of /proc/PID/status, in kB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name + ":")).split()[1])

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(60) != 0:
            raise RuntimeError(Path(self.log.name).read_text())


def requests(kind: str, events: int, rng: random.Random) -> Iterator[bytes]:
    """Requests for ever, each with ids of its own."""
    made = bodies(kind, events, rng)
    pool = [post(kind, TOKEN, next(made)) for _ in range(max(1, POOL_EVENTS // events))]
    for serial, request in enumerate(cycle(pool)):
        yield with_serial(request, serial)


def measure(name: str, seconds: float, connections: int, core: int | None) -> dict[str, object]:
    """One workload against a fresh server."""
    kind, events = WORKLOADS[name]
    with tempfile.TemporaryDirectory() as directory:
        served = Served(Path(directory), core)
        before = served.cpu_seconds()
        load = closed(served.port, requests(kind, events, random.Random(SEED)), connections, seconds)
        cpu = served.cpu_seconds() - before
        behind = catch_up(served.store, kind)
        memory = {"rss_mb": served.status("VmRSS") // 1024, "anonymous_mb": served.status("RssAnon") // 1024}
        served.stop()
        return (
            {"workload": name}
            | figures(load, events, cpu)
            | {"catch_up_seconds": round(behind, 2)}
            | memory
            | stored(served.store, kind, load.answered * events)
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


def catch_up(path: Path, source: str) -> float:
    """How long after the load the last event had its outcome. Raises where that takes longer than a minute."""
    started = time.monotonic()
    store = Store.open(path, mode="read")
    try:
        while Reader(store).totals()[source].pending:
            if time.monotonic() - started > CATCH_UP_SECONDS:
                raise RuntimeError(f"still pending: {Reader(store).totals()[source]}")
            time.sleep(0.05)
    finally:
        store.close()
    return time.monotonic() - started


def stored(path: Path, source: str, acknowledged: int) -> dict[str, object]:
    """What the store says. Raises where an acknowledged event is missing or unfinished."""
    store = Store.open(path, mode="read")
    try:
        totals = Reader(store).totals()[source]
        used = store.used_bytes()
    finally:
        store.close()
    if totals.received != acknowledged or totals.pending:
        raise RuntimeError(f"acknowledged {acknowledged}, in the store {totals}")
    return {"disk_bytes_per_event": round(used / max(1, acknowledged))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of load for each workload (default: 10)")
    parser.add_argument("--connections", type=int, default=64, help="open at a time (default: 64)")
    parser.add_argument("--core", type=int, help="pin the server to this core, the load to the others")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {options.core})
    for name in WORKLOADS:
        print(json.dumps(measure(name, options.seconds, options.connections, options.core)), flush=True)


if __name__ == "__main__":
    main()
