"""More than it can take: an open loop at some times its best, and sources over their limits beside a good one.

    python -m bench.overload [--quick] [--parts overload,neighbours,many] [--seconds 60]

overload
    The best rate is that of a closed loop; then requests are due at 2 and 5 times that rate on up to CONNECTIONS
    connections. Each answer is counted, and the run ends with what was accepted in the store.
neighbours
    The p99 of a source with a steady open load, alone and beside one that is far over its limit or whose processor
    hangs, by turns.
many
    Start, memory, and the p99 of a steady open load, with one source and few connections, and with 1000 sources and
    4000 connections that each speak now and then.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from bench import books, report
from bench.child import LOAD_CORE, SERVER_CORE, Child, pin
from bench.fairness import beside
from bench.flood import Flood, Flooded
from bench.load import post
from bench.peers import source, tidegate
from bench.starting import start
from bench.workload import SEED, SERIAL, TOKEN, batch, webhook, with_serial

TIMES = (2, 5)
CONNECTIONS = 1500
BEST_CONNECTIONS = 32
BATCH_EVENTS = 100
WARM_SECONDS = 2.0

STEADY_PER_SECOND = 200
STEADY_CONNECTIONS = 16
OTHER_PER_SECOND = 1000
"""Of the source over its limit: a hundred times as much as that says."""

SOURCES, MANY_CONNECTIONS = 1000, 4000

NEIGHBOURS: Mapping[str, str] = {
    "defers": 'rate_limit_events_per_second = 10\nover_limit = "defer"\n',
    "drops": 'rate_limit_events_per_second = 10\nover_limit = "drop"\n',
    "observes": 'rate_limit_events_per_second = 10\nover_limit = "observe"\n',
    "hangs": 'processor = "hanging:hang"\nprocessor_timeout_seconds = 3600\n',
}
"""What the other source is told. All but `observes` soon have a full backlog, so that 503 is among their answers."""
BACKLOG_EVENTS_MAX = 20_000
HANGING = "import time\n\n\ndef hang(events):\n    time.sleep(3600)\n"


def batches() -> Iterator[bytes]:
    """Segment batches with ids of their own."""
    rng = random.Random(SEED)
    pool = [post("segment", TOKEN, batch(rng, BATCH_EVENTS)) for _ in range(20)]
    for serial, request in enumerate(cycle(pool)):
        yield with_serial(request, serial)


def singles(name: str) -> Iterator[bytes]:
    """Small webhooks of a source, with ids of their own."""
    request = post(name, TOKEN, webhook(random.Random(SEED), SERIAL))
    for serial in range(2**32):
        yield with_serial(request, serial)


def _said(found: Flooded) -> dict[str, Any]:
    return {
        "accepted_per_second": round(found.accepted_in_time / found.seconds, 1),
        "answers": dict(found.answers),
        "p50_ms": round(found.percentile(0.5), 2),
        "p99_ms": round(found.percentile(0.99), 2),
    }


@contextmanager
def _serving(more: str, core: int | None) -> Iterator[tuple[Child, int, Path]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        (directory / "hanging.py").write_text(HANGING)
        child, port = tidegate(more=more).start(directory, core)
        try:
            yield child, port, directory
        finally:
            child.kill()


def overload(seconds: float, core: int | None = SERVER_CORE) -> dict[str, Any]:
    """The best rate, and what comes of 2 and 5 times as much. Raises RuntimeError if what was accepted is not there."""
    requests, accepted = batches(), 0
    results: dict[str, Any] = {}
    with _serving("", core) as (child, port, directory):
        for name, run in _loads(port, requests, seconds):
            found = run()
            accepted += found.accepted
            results[name] = _said(found) | {"memory_mb": round(child.status_kb("RssAnon") / 1024, 1)}
            report.say(f"{name}: {results[name]}")
            books.catch_up(directory / "data")
        results["peak_mb"] = round(child.status_kb("VmHWM") / 1024, 1)
        child.stop()
        # What had no answer may be there too.
        results["checks"] = books.check(directory / "data", {"segment": accepted * BATCH_EVENTS}, 10**9)
    return results


def _loads(port: int, requests: Iterator[bytes], seconds: float) -> Iterator[tuple[str, Callable[[], Flooded]]]:
    best: list[float] = []

    def closed() -> Flooded:
        with Flood(port, BEST_CONNECTIONS) as flood:
            flood.closed(requests, seconds)
            best[:] = [flood.found.accepted / flood.found.seconds]
            return flood.finish()

    def opened(times: float) -> Flooded:
        with Flood(port, CONNECTIONS) as flood:
            flood.opened(requests, seconds, best[0] * times)
            return flood.finish()

    yield "warm", closed
    yield "best", closed
    for times in TIMES:
        yield f"{times} times", partial(opened, times)


def _steady(port: int, name: str, seconds: float, connections: int = STEADY_CONNECTIONS) -> Flooded:
    with Flood(port, connections) as flood:
        flood.opened(singles(name), seconds, STEADY_PER_SECOND)
        return flood.finish()


def neighbours(seconds: float, core: int | None = SERVER_CORE) -> dict[str, Any]:
    """The good source's p99 beside each kind of other source by its p99 alone, before and after."""
    results: dict[str, Any] = {}
    for name, keys in NEIGHBOURS.items():
        other = source("other", "webhook").split("rate_limit")[0] + keys
        with _serving(f"{other}[queue]\nbacklog_events_max = {BACKLOG_EVENTS_MAX}\n", core) as (_, port, _):
            _steady(port, "webhook", WARM_SECONDS)
            before = _steady(port, "webhook", seconds)
            with beside(partial(_flood_other, port, seconds + WARM_SECONDS)) as said:
                time.sleep(WARM_SECONDS / 2)
                busy = _steady(port, "webhook", seconds)
            after = _steady(port, "webhook", seconds)
            quiet = (before.percentile(0.99) + after.percentile(0.99)) / 2
            results[name] = {"alone": [_said(before), _said(after)], "beside": _said(busy), "other": dict(said)}
            results[name]["p99_by_alone"] = round(busy.percentile(0.99) / quiet, 2)
            report.say(f"{name}: {results[name]}")
    return results


def _flood_other(port: int, seconds: float) -> dict[str, Any]:
    with Flood(port, STEADY_CONNECTIONS) as flood:
        return _said(flood.opened(singles("other"), seconds, OTHER_PER_SECOND))


def many(
    seconds: float, core: int | None = SERVER_CORE, sources: int = SOURCES, connections: int = MANY_CONNECTIONS
) -> dict[str, Any]:
    """The same with one source and few connections, and with many of both."""
    results: dict[str, Any] = {}
    for name, extra, opened in (("one", 0, STEADY_CONNECTIONS), ("many", sources, connections)):
        more = "".join(source(f"s{at}", "webhook") for at in range(extra))
        with tempfile.TemporaryDirectory(prefix="bench-") as where:
            child, port, begun = start(tidegate(more=more), Path(where), core)
            try:
                names = [f"s{at}" for at in range(extra)] or ["webhook"]
                with Flood(port, opened) as flood:
                    flood.connect_all(singles("webhook"))
                    flood.opened(map(next, cycle([singles(each) for each in names])), seconds, STEADY_PER_SECOND)
                    found = flood.finish()
                    memory = child.status_kb("RssAnon") / 1024
            finally:
                child.kill()
        results[name] = _said(found) | {"ready_seconds": round(begun.ready_seconds, 3), "memory_mb": round(memory, 1)}
        report.say(f"{name}: {results[name]}")
    return results


PARTS = {"overload": overload, "neighbours": neighbours, "many": many}


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--quick", action="store_true", help="5 s each: for a first look")
    parser.add_argument(
        "--parts", type=report.some_of(list(PARTS), ","), default=list(PARTS), help=f"some of {','.join(PARTS)}"
    )
    parser.add_argument("--seconds", type=report.above_zero, help="of each load (default: 60)")
    options = parser.parse_args()
    pin(LOAD_CORE)
    seconds = options.seconds or (5 if options.quick else 60)
    results = {name: PARTS[name](seconds) for name in options.parts}
    report.say(str(report.write(results, options.results, "overload", vars(options))))


if __name__ == "__main__":
    main()
