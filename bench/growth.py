"""What a store costs as it grows: throughput, start and memory with so many known ids.

    python -m bench.growth [--known 0,1000000,10000000] [--seconds 5]

One store grows from step to step. At each step a server starts on it; "ready" is when it listens, "consuming" when the
first events sent to it have their outcomes, for which the index of all known ids must stand.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench import books, report, wrk
from bench.child import LOAD_CORE, SERVER_CORE
from bench.handshake import shake
from bench.micro import HEADERS, SOURCE
from bench.peers import PEERS
from bench.workload import SEED, WORKLOADS, batch, with_serial
from server.intake.headers import scan
from server.intake.normalise import facts
from server.intake.parse import parse
from server.refusal import Refusal
from storage.environment import Store
from storage.model import Append, Fate, Group, Outcomes, Stored
from storage.records import delivery_id
from storage.writer import Writer

EVENTS = 1000
"""In one delivery, and in one transaction, while the store is filled."""
DIFFERENT = 20
"""Bodies made ahead for that; each time with other ids."""
MAP_BYTES = 64 << 30
LOADS = ("single Segment", "batches of 100", "batches of 1000")
CONTAINERS_MAX = 10**6


def fill(path: Path, events: int, seed: int) -> None:
    """Add so many processed events, rounded down to whole deliveries, as the server would have written them."""
    rng = random.Random(seed)
    pool = [batch(rng, EVENTS) for _ in range(DIFFERENT)]
    store = Store.open(path, map_size_bytes=MAP_BYTES, mode="write")
    try:
        writer = Writer(store)
        outcomes: tuple[Outcomes, ...] = ()
        for stored in _deliveries(pool, events // EVENTS, writer):
            writer.write(Group([Append(stored, EVENTS, Fate.DEFERRED)], outcomes))
            numbers = range(stored.first, stored.first + EVENTS)
            outcomes = (Outcomes(SOURCE.id, Fate.PROCESSED, numbers, [0] * EVENTS, stored.facts.received_at_ms),)
        if outcomes:
            writer.write(Group(outcomes=outcomes))
    finally:
        store.close()


def _deliveries(pool: Sequence[bytes], count: int, writer: Writer) -> Iterator[Stored]:
    for serial in range(count):
        body = with_serial(pool[serial % len(pool)], serial)
        found = facts(
            SOURCE,
            scan(HEADERS),
            parse(body, CONTAINERS_MAX),
            received_at_ms=time.time_ns() // 1_000_000,
            remote_addr="127.0.0.1",
            batch_events_max=EVENTS,
        )
        if isinstance(found, Refusal):
            raise TypeError(f"a body of our own is refused: {found}")
        first = writer.next_number
        yield Stored(first, delivery_id(first, "abcdef"), found, body)


def step(
    directory: Path, known: int, pools: Sequence[tuple[str, Path]], seconds: float, cores: tuple[int | None, int | None]
) -> dict[str, object]:
    """A server on the store as it is. Raises RuntimeError where what it acknowledged is not in the store."""
    started = time.monotonic()
    child, port = PEERS["tidegate"].start(directory, cores[0])
    try:
        said: dict[str, object] = {"known": known, "ready_seconds": round(time.monotonic() - started, 2)}
        shake(port)
        books.catch_up(directory / "data", SOURCE.id)
        said["consuming_seconds"] = round(time.monotonic() - started, 2)
        said["anonymous_mb_at_start"] = child.status_kb("RssAnon") // 1024
        for name, pool in pools:
            workload = next(each for each in WORKLOADS if each.name == name)
            # By the number of known ids, so that no step sends what another one has sent.
            serial = (known // EVENTS + 1) * 65536 % (1 << 31)
            load = wrk.run(replace(workload, vary=False), pool, port, seconds, core=cores[1], start=serial)
            books.catch_up(directory / "data", SOURCE.id)
            said[f"{name}, events/s"] = round((load.requests - load.refused) * workload.events / load.seconds)
        said["anonymous_mb_after_load"] = child.status_kb("RssAnon") // 1024
        child.stop()
    finally:
        child.kill()
    return said | {"store_gb": round((directory / "data" / "data.mdb").stat().st_blocks * 512 / 1e9, 2)}


def measure(
    known: Sequence[int],
    seconds: float,
    loads: Sequence[str] = LOADS,
    cores: tuple[int | None, int | None] = (SERVER_CORE, LOAD_CORE),
) -> list[dict[str, object]]:
    """One step for each number of known ids, which ascend."""
    steps = []
    filled = 0
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        pools = [(load, directory / load) for load in loads]
        for load, pool in pools:
            wrk.write_pool(next(each for each in WORKLOADS if each.name == load), pool)
        for count in known:
            fill(directory / "data", count - filled, SEED + 1 + count)
            filled = count
            steps.append(step(directory, count, pools, seconds, cores))
            report.say(str(steps[-1]))
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--known", default="0,1000000,10000000", help="numbers of ids (default: 0,1000000,10000000)")
    parser.add_argument("--seconds", type=float, default=5, help="of each load at each step (default: 5)")
    parser.add_argument("--results", type=Path, default=report.DIRECTORY, help="where the results go")
    options = parser.parse_args()
    steps = measure([int(count) for count in options.known.split(",")], options.seconds)
    print(report.write({"growth": steps}, options.results, "growth", vars(options)))


if __name__ == "__main__":
    main()
