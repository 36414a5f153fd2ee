"""Half an hour of everything at once: does anything grow?

    python -m bench.soak [--minutes 30] [--rate 500]

Single webhooks, which a processor works off, single Segment events, batches of 10, of 100 with duplicates, and gzip'd
ones come in an open loop, on connections that are made anew with every sample. Beside it come refused requests of every
kind, slow and broken ones, scrapes and look-ups (`beside.py`), and between two samples a reload: of another
configuration, of the same, of a broken one. Ids are known for three minutes and bodies kept up to a bound, so that all
that leaves a store leaves it, again and again; memory holds few ids, so that the others go into files. The run ends
with the comparison of what was acknowledged and what is there, and with `verify`. What has to be flat, and how flat, is
in `flat.py`.
"""

import gzip
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

from bench import admin, beside, books, flat, report
from bench.child import HANG_SECONDS, LOAD_CORE, SERVER_CORE, Child, pin
from bench.load import opened, post
from bench.peers import ROOT, Peer, source
from bench.workload import SEED, TOKEN, WORKLOADS, Workload, bodies, with_serial
from server.config.settings import SECTIONS

WINDOW_HOURS = 0.05
MEMORY_IDS_MAX = 100_000
BODY_TIMEOUT_SECONDS = 2
LIMITS = f"""\
[limits]
body_timeout_seconds = {BODY_TIMEOUT_SECONDS}
[dedup]
window_hours = {WINDOW_HOURS}
memory_ids_max = {MEMORY_IDS_MAX}
"""
RETENTION = f"""\
[retention]
archive_bytes_max = {8 * 2**20}
receipt_hours = {WINDOW_HOURS}
"""

CONNECTIONS = 64
SAMPLES = 300
SAMPLE_SECONDS_MIN = 2.0
"""Of load between two samples: a p99 needs some hundred requests."""

LOOKS = 5
LOOK_SECONDS = 0.1
"""Between two looks at the descriptors of a sample."""

LAUNCHER = """\
import sys
from storage.retain import policy
policy.ON_ITS_WAY_MS = 60_000
from server.cli.main import main
sys.exit(main())
"""
"""What was received up to an hour ago may be on its way to the store, so ids and receipts stay for so long at least.
A minute here: else nothing would leave in half an hour.
"""

PROCESSOR = "def work(events):\n    return [{'seen': len(event['payload'])} for event in events]\n"

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


def _peer() -> Peer:
    """The server of a soak, and what its processor is."""

    def command(port: int, directory: Path) -> Sequence[str]:
        config = directory / "tidegate.toml"
        server = f'[server]\nbind = "127.0.0.1:{port}"\nadmin_bind = "127.0.0.1:0"\n'
        signed = source(beside.SOURCE, "webhook") + f'signing_secrets = ["{beside.SIGNING_SECRET}"]\n'
        worked = source("webhook", "webhook") + 'processor = "soak_processor:work"\n'
        retention = RETENTION if "retention" in SECTIONS else ""
        config.write_text(server + LIMITS + retention + signed + worked + source("segment", "segment"))
        (directory / "soak_processor.py").write_text(PROCESSOR)
        return [sys.executable, "-c", LAUNCHER, "serve", "--config", str(config)]

    return Peer("Tidegate", command, ROOT, "/ingest", tidegate=True)


class Reloads:
    """Reloads in turn: another source more, the file as it was, one that cannot be used."""

    def __init__(self, child: Child, config: Path) -> None:
        self._child = child
        self._config = config
        text = config.read_text()
        self._texts = cycle([text + source("more", "webhook"), text, text + "[nonsense]\n"])
        self._log_read = 0
        self.counts: Counter[str] = Counter()

    def next(self) -> None:
        """Reload, and return when the log says what became of it."""
        before = self.counts.total()
        self._config.write_text(next(self._texts))
        self._child.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + HANG_SECONDS
        while self.counts.total() == before:
            if time.monotonic() > until:
                raise RuntimeError("a reload is not answered")
            time.sleep(0.05)
            self._read_log()

    def _read_log(self) -> None:
        with self._child.log.open("rb") as file:
            file.seek(self._log_read)
            new = file.read().rpartition(b"\n")[0]
        self._log_read += len(new)
        self.counts["taken"] += new.count(b'"reloaded"')
        self.counts["refused"] += new.count(b"the old one stays in force")


def sample(child: Child, data: Path, p99_ms: float) -> dict[str, float]:
    """Return what is to be flat, now."""
    return {
        "memory_mb": round(child.status_kb("RssAnon") / 1024, 2),
        "descriptors": _descriptors(child),
        "threads": child.status_kb("Threads"),
        "p99_ms": round(p99_ms, 3),
        "store_mb": round(sum(path.stat().st_blocks * 512 for path in data.rglob("*") if path.is_file()) / 2**20, 2),
    }


def _descriptors(child: Child) -> int:
    """Return the fewest of some looks: the load's connections have just been closed, others come and go."""
    looks = []
    for _ in range(LOOKS):
        looks.append(len(list(Path(f"/proc/{child.process.pid}/fd").iterdir())))
        time.sleep(LOOK_SECONDS)
    return min(looks)


def measure(seconds: float, rate: float, core: int | None = SERVER_CORE) -> dict[str, Any]:
    """Raises RuntimeError where an answer was not the right one, or an acknowledged event is missing or doubled."""
    mixed = Mixed()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        child, port = _peer().start(directory, core)
        command = [sys.executable, "-m", "bench.beside", str(port), str(admin.port_of(child))]
        others = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            samples, reloads = _loaded(child, port, mixed, seconds, rate)
            seen = json.loads(others.communicate(timeout=HANG_SECONDS)[0] or '{"problems": ["no last line"]}')
            books.catch_up(directory / "data")
            child.stop()
        finally:
            others.kill()
            others.wait()
            child.kill()
        _check(child, seen)
        checks = books.check(directory / "data", mixed.sent | {beside.SOURCE: seen["accepted"]})
    return figures(samples) | {"requests_per_second": rate, "checks": checks, "beside": seen, "reloads": reloads.counts}


def _loaded(
    child: Child, port: int, mixed: Mixed, seconds: float, rate: float
) -> tuple[list[tuple[float, dict[str, float]]], Reloads]:
    """Load for so long; a sample and a reload after each piece of it."""
    requests, data = mixed.requests(), child.log.parent / "data"
    reloads = Reloads(child, child.log.parent / "tidegate.toml")
    piece = min(seconds, max(SAMPLE_SECONDS_MIN, seconds / SAMPLES))
    samples: list[tuple[float, dict[str, float]]] = []
    began = time.monotonic()
    while not samples or time.monotonic() - began < seconds:
        load = opened(port, requests, CONNECTIONS, piece, rate)
        if load.refused:
            raise RuntimeError(f"{load.refused} answers were not 200")
        reloads.next()
        samples.append((round(time.monotonic() - began, 1), sample(child, data, load.percentile(0.99))))
    return samples, reloads


def _check(child: Child, seen: dict[str, Any]) -> None:
    if seen["problems"]:
        raise RuntimeError(f"beside the load: {seen['problems']}")
    if "Traceback" in child.output():
        raise RuntimeError(f"the log has a traceback: {child.output()}")


def figures(samples: Sequence[tuple[float, dict[str, float]]]) -> dict[str, Any]:
    """Return each series, and what became of it; the store's size is judged if retention bounds it."""
    times = [at for at, _ in samples]
    series = {name: [each[name] for _, each in samples] for name in flat.LIMITS}
    trends = {
        name: flat.trend(name, times, values, judged=name != "store_mb" or "retention" in SECTIONS)
        for name, values in series.items()
    }
    return {"seconds": round(times[-1]), "times": times, "series": series, "trends": trends}


def write(said: dict[str, Any], directory: Path, options: Mapping[str, object]) -> Path:
    """Write the results of `measure`; return the path."""
    trends = {name: asdict(each) for name, each in said["trends"].items()}
    return report.write({"soak": said | {"trends": trends}}, directory, "soak", options)


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--minutes", type=report.above_zero, default=30, help="of load (default: 30)")
    parser.add_argument("--rate", type=report.above_zero, default=500, help="requests a second (default: 500)")
    options = parser.parse_args()
    pin(LOAD_CORE)
    said = measure(options.minutes * 60, options.rate)
    path = write(said, options.results, vars(options))
    print(flat.table(said["trends"]))
    report.say(str(path))


if __name__ == "__main__":
    main()
