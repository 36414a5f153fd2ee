"""What whoever looks on costs those who send: latency alone, and with a page, a follower, a scrape and an export.

    python -m bench.watched [--rate 400] [--seconds 5] [--repeats 20] [--events 500000]

An open loop as in `bench.latency`, on a store that holds so many events. One server works by turns, since a machine
that others share is now fast and now slow:

`alone`
    Nobody looks on.
`beside another`
    The store of a server that is not there is exported meanwhile: what any program costs that computes and reads as
    much beside it, through caches, memory and disk that the cores share.
`watched`
    The requests of the admin page come every two seconds, `/metrics` is scraped every second, a follower reads `/tail`,
    and the server's whole store is exported, as far as a turn lasts.

What they do shares the generator's core, and works while that is idle: with a low priority alone they might end a slice
before the generator has its turn. It is late even so, where one of them is in a call of the kernel. The server's core
is its own, so a latency is the time for which the server had the request (`bench.load`); what the generator saw from
when the request was due, its own lateness included, is said beside it. A ratio is the median over the rounds, between
the 5th and 95th percentile of such medians if rounds are drawn anew from those that there were.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

from bench import admin, books, filled, report
from bench.child import LOAD_CORE, SERVER_CORE, pin
from bench.latency import FIGURES, WARM_SECONDS, Sender, load_at
from bench.load import Load, percentile_ms
from bench.peers import PEERS
from bench.workload import SEED

PAGE = ("/metrics", "/sources", "/readyz")
"""What the page asks for, every PAGE_SECONDS."""
WATCHERS = ("page", "scrape", "follow", "export")
PAGE_SECONDS, SCRAPE_SECONDS = 2.0, 1.0
COMPARED = (("watched", "alone"), ("watched", "beside another"), ("beside another", "alone"))
DRAWS = 1000
CONFIG = "tidegate.toml"


@dataclass
class Stretches:
    """What was measured in all stretches of one kind."""

    loads: list[Load] = field(default_factory=list)
    cpu_seconds: float = 0.0

    @property
    def p99s_ms(self) -> list[float]:
        """Of each."""
        return [round(percentile_ms(load.served, 0.99), 3) for load in self.loads]

    @property
    def seen_p99s_ms(self) -> list[float]:
        """Of each, as the generator saw it."""
        return [round(load.percentile(0.99), 3) for load in self.loads]

    def figures(self) -> dict[str, float]:
        """Of all their answers together."""
        served = [each for load in self.loads for each in load.served]
        found = {name: percentile_ms(served, share) for name, share in FIGURES}
        return found | {"cpu_us_per_request": self.cpu_seconds / max(1, len(served)) * 1e6}


def run(
    store: Path, rate: float, seconds: float, repeats: int, watchers: Sequence[str], *, core: int | None = SERVER_CORE
) -> dict[str, object]:
    """One server, looked at and not, by turns; raise RuntimeError where an answer was no 200."""
    found = {title: Stretches() for title in ("alone", "beside another", "watched")}
    seen: Counter[str] = Counter()
    rng = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory, another = Path(name), Path(name) / "another"
        filled.copy(store, directory / "data")
        child, port = PEERS["tidegate"].start(directory, core)
        filled.copy(store, another / "data")
        shutil.copy(directory / CONFIG, another)
        at_work = {"alone": (directory, ()), "beside another": (another, ("export",)), "watched": (directory, watchers)}
        requests = Sender().requests()
        try:
            load_at(port, requests, WARM_SECONDS, rate)
            for _ in range(repeats):
                for title in rng.sample(list(found), len(found)):
                    with _watchers(admin.port_of(child), *at_work[title]) as looks:
                        before = child.cpu_seconds()
                        found[title].loads.append(load_at(port, requests, seconds, rate))
                        found[title].cpu_seconds += child.cpu_seconds() - before
                    if title == "watched":
                        seen.update(looks)
                    report.say(f"{title}: p99 {found[title].p99s_ms[-1]:.1f} ms")
            books.catch_up(directory / "data")
            child.stop()
        finally:
            child.kill()
    refused = sum(load.refused for each in found.values() for load in each.loads)
    if refused:
        raise RuntimeError(f"{refused} answers were not 200")
    figures = {title: each.figures() for title, each in found.items()}
    p99s = {title: each.p99s_ms for title, each in found.items()}
    seen_p99s = {title: each.seen_p99s_ms for title, each in found.items()}
    return {
        "per_second": rate,
        "p99": _ratios(p99s, rng),
        "p99 as the generator saw it": _ratios(seen_p99s, rng),
        **figures,
        "p99_ms of each turn": p99s,
        "p99_ms of each turn as the generator saw it": seen_p99s,
        "looked at": seen,
    }


def _ratios(p99s: Mapping[str, Sequence[float]], rng: random.Random) -> dict[str, dict[str, float]]:
    return {f"{one} to {other}": _ratio(p99s[one], p99s[other], rng) for one, other in COMPARED}


def _ratio(ones: Sequence[float], others: Sequence[float], rng: random.Random) -> dict[str, float]:
    """See the module."""
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    drawn = [statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(DRAWS)]
    low, *_, high = statistics.quantiles(drawn, n=20)
    return {"ratio": round(statistics.median(ratios), 3), "from": round(low, 3), "to": round(high, 3)}


@contextmanager
def _watchers(port: int, directory: Path, names: Sequence[str]) -> Iterator[dict[str, int]]:
    """Look on meanwhile, at the server with this admin port and the store in this directory; at the end say how
    often."""
    seen: dict[str, int] = {}
    command = [sys.executable, "-m", "bench.watched", "--watch", str(port), str(directory / CONFIG), *names]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watchers:
        assert watchers.stdin is not None
        assert watchers.stdout is not None
        try:
            watchers.stdout.readline()
            yield seen
        finally:
            watchers.stdin.close()
            seen.update(json.loads(watchers.stdout.read() or "{}"))


class _Watch:
    """The watchers of one server, each in a thread; counts what each did."""

    def __init__(self, port: int, config: Path) -> None:
        self._port = port
        self._config = config
        self._done = threading.Event()
        self.seen = {"pages": 0, "scrapes": 0, "followed_bytes": 0, "exports": 0}

    def page(self) -> None:
        self._ask(PAGE, PAGE_SECONDS, "pages")

    def scrape(self) -> None:
        self._ask(("/metrics",), SCRAPE_SECONDS, "scrapes")

    def _ask(self, paths: Sequence[str], seconds: float, what: str) -> None:
        """Ask for these again and again on one connection, as browsers and Prometheus do."""
        connection = HTTPConnection("127.0.0.1", self._port)
        while not self._done.wait(seconds):
            for path in paths:
                connection.request("GET", path)
                connection.getresponse().read()
            self.seen[what] += 1

    def follow(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port)
        connection.request("GET", "/tail")
        response = connection.getresponse()
        while not self._done.is_set():
            self.seen["followed_bytes"] += len(response.read1())

    def export(self) -> None:
        number = 0
        while not self._done.is_set():
            number += 1
            target = self._config.parent / f"export-{number}.ndjson.zst"
            command = [sys.executable, "-m", "server", "export", str(target), "--config", str(self._config)]
            exporting = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while exporting.poll() is None and not self._done.wait(0.05):
                pass  # it is asked again, until it has ended or nobody looks on any more
            exporting.kill()
            self.seen["exports"] += exporting.wait() == 0

    def run(self, names: Sequence[str]) -> None:
        """Work until stdin ends."""
        for name in names:
            threading.Thread(target=getattr(self, name), daemon=True).start()
        print(flush=True)
        sys.stdin.read()
        self._done.set()
        time.sleep(0.2)
        print(json.dumps(self.seen), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=report.above_zero, default=400.0, help="requests a second (default: 400)")
    parser.add_argument("--seconds", type=report.above_zero, default=5.0, help="of each turn (default: 5)")
    parser.add_argument("--repeats", type=report.whole_above_zero, default=20, help="turns of each (default: 20)")
    parser.add_argument("--events", type=report.whole_above_zero, default=500_000, help="in the store before")
    parser.add_argument(
        "--watchers", type=report.some_of(list(WATCHERS), ","), default=WATCHERS, help=f"some of {','.join(WATCHERS)}"
    )
    parser.add_argument("--watch", nargs="+", metavar="PORT CONFIG WATCHER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.watch is not None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        port, config, *names = arguments.watch
        _Watch(int(port), Path(config)).run(names)
        os._exit(0)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        store = Path(name) / "store"
        filled.fill(store, arguments.events, SEED)
        pin(LOAD_CORE)
        found = run(store, arguments.rate, arguments.seconds, arguments.repeats, arguments.watchers)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
