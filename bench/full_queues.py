"""Memory with full queues: sources whose processors hold on to what they have, and more events than memory takes.

Then the processors let go, and every event must come to its outcome.
"""

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import admin, books, filled
from bench.child import SERVER_CORE
from bench.handshake import BEARER, post, talk
from bench.micro import SOURCE
from bench.peers import source, tidegate
from bench.starting import start
from bench.workload import SEED, batch, with_serial

SOURCES = tuple(f"held-{index}" for index in range(8))
QUEUE_EVENTS = 20_000
"""What one of them holds in memory (queue.events_max), if all together do not hold 64 MiB of bodies before."""
BATCH = 100
EVENTS = 30_000
"""To each source, so that every queue is full in one way or the other."""
SAMPLE_REQUESTS = 50

HOLD = """\
import pathlib
import time

RELEASE = pathlib.Path(__file__).with_name("release")


def hold(events):
    while not RELEASE.exists():
        time.sleep(0.01)
"""


def measure(made: Path | None, known: int, events: int = EVENTS, core: int | None = SERVER_CORE) -> dict[str, Any]:
    """On a copy of this store. Raises RuntimeError where a queue did not get full, or an event has no outcome."""
    keys = 'processor = "hold:hold"\nprocessor_timeout_seconds = 3600\n'
    server = tidegate(more="\n".join(source(name, "segment") + keys for name in SOURCES))
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        (directory / "hold.py").write_text(HOLD)
        if made is not None:
            filled.copy(made, directory / "data")
        child, port, _ = start(server, directory, core)
        try:
            before = child.status_kb("RssAnon") / 1024
            samples = [
                child.status_kb("RssAnon") / 1024
                for count, _ in enumerate(_sent(port, events))
                if count % SAMPLE_REQUESTS == 0
            ]
            held = [each for each in admin.sources(child) if each["id"] in SOURCES]
            samples.append(child.status_kb("RssAnon") / 1024)
            if not all(each["behind"] for each in held):
                raise RuntimeError(f"not every queue is full: {held}")
            (directory / "release").touch()
            books.catch_up(directory / "data")
            child.stop()
        finally:
            child.kill()
        acknowledged = dict.fromkeys(SOURCES, events) | ({SOURCE.id: known} if known else {})
        checks = books.check(directory / "data", acknowledged)
    return {
        "known": known,
        "sources": len(SOURCES),
        "anonymous_mb_before": round(before, 1),
        "anonymous_mb": round(samples[-1], 1),
        "anonymous_mb_peak": round(max(samples), 1),
        "checks": checks,
    }


def _sent(port: int, events: int) -> Iterator[None]:
    """Comes back after each delivery. Raises RuntimeError where one is refused."""
    rng = random.Random(SEED - 1)
    pool = [batch(rng, BATCH) for _ in range(20)]
    with talk(port) as connection:
        for serial in range(events // BATCH):
            for name in SOURCES:
                status, said = post(connection, name, BEARER, with_serial(pool[serial % len(pool)], serial))
                if status != 200:
                    raise RuntimeError(f"{name}: {status} {said}")
                yield
