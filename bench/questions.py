"""How long an operator waits for an answer, by the documented commands, on a store of `bench.find`.

    python -m bench.questions DIRECTORY [--repeats 3] [--scan]

Prints a line of JSON for each question: seconds on the clock and of CPU, medians of some repeats, with the start of the
command. `--scan` adds the one that looks at the payload of every event. The last one forgets an event, for good.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from bench.workload import SEED
from server.intake.events import rfc3339
from storage.lmdb_store.environment import Store
from storage.read.query import EventQuery
from storage.read.reader import Reader

MINUTES = 10
"""Of the period that is exported and counted: some 300 000 events."""


def questions(path: Path, *, scan: bool) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield each question with its command, about an event in the middle of the store."""
    with closing(Store.open(path, mode="read")) as store:
        reader = Reader(store)
        number = random.Random(SEED).randrange(reader.end() // 3, reader.end() // 2)
        record = reader.select(EventQuery(after=number - 1, before=number + 1)).records[0]
    deliveries, source = record.numbered.deliveries, record.numbered.source_id
    event_id, provider_id = record.numbered.event_id(0), str(deliveries.provider_ids[0])
    since_ms = deliveries.received_at_ms[0]
    period = ("--since", rfc3339(since_ms), "--until", rfc3339(since_ms + MINUTES * 60_000))
    yield "what became of event X", ("receipt", source, event_id)
    yield "what was in it", ("event", source, event_id)
    yield "by the id of its provider", ("events", source, "--provider-id", provider_id)
    yield "what came with it", ("delivery", record.numbered.delivery_ids()[0])
    yield "the last 20 of this source", ("events", source, "--last", "20")
    yield "which died in these minutes", ("events", source, "--outcome", "dead", *period)
    yield f"{MINUTES} minutes as NDJSON", ("export", "-", "--format", "ndjson", *period)
    yield f"how many a replay of {MINUTES} minutes has", ("replay", source, *period, "--dry-run")
    yield (
        "how many events hold a value, in these minutes",
        ("events", source, "--where", f"payload.id={provider_id}", *period),
    )
    if scan:
        yield "who has this in the payload, ever", ("events", source, "--where", f"payload.id={provider_id}", "--all")
    yield "forget it", ("forget", source, event_id, "--yes")


def ask(config: Path, command: Sequence[str]) -> tuple[float, float, int]:
    """Return seconds on the clock and of CPU, and the bytes of the answer."""
    name, *rest = command
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    argv = [sys.executable, "-m", "server", name, "--config", str(config), *rest]
    done = subprocess.run(argv, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.decode()}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, len(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, metavar="DIRECTORY")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scan", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        config = Path(name) / "tidegate.toml"
        sources = "".join(
            f'[sources.source-{each}]\ntype = "webhook"\ntokens = ["t"]\nprocessor = "a:b"\n' for each in range(4)
        )
        config.write_text(f'[storage]\npath = "{arguments.store.resolve()}"\nmap_size_bytes = {64 << 30}\n{sources}')
        for question, command in questions(arguments.store, scan=arguments.scan):
            once = command[0] == "forget" or "ever" in question
            runs = [ask(config, command) for _ in range(1 if once else arguments.repeats)]
            clock, cpu, size = (statistics.median(column) for column in zip(*runs, strict=True))
            print(
                json.dumps({"question": question, "seconds": round(clock, 2), "cpu": round(cpu, 2), "bytes": size}),
                flush=True,
            )


if __name__ == "__main__":
    main()
