"""How long look-ups take in a store of many events, with the look-up index and without, and what that costs.

    python -m bench.find [--events 2000000] [--store DIRECTORY]

Fills a store with webhooks whose `provider_event_id` is another than their id, so that each has two entries, and prints
lines of JSON: the making of the index, then each kind of look-up. DIRECTORY is kept, and used again if it is there; it
takes some 60 bytes an event.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from bench.workload import SEED
from storage.deliveries import WHOLE_ITEM, Deliveries, NumberedDeliveries
from storage.index.planner import IndexPlanner
from storage.lmdb_store.environment import Store
from storage.model import Append, EventRecord, Group, StatusChange
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.statuses import EventStatus
from storage.write.writer import Writer

MAP_BYTES = 64 << 30
TOGETHER = 1000
"""Deliveries of one event in one transaction."""
SOURCES = 4
STARTED_MS = 1_700_000_000_000
SAMPLES, SAMPLES_WITHOUT = 60, 5
"""Look-ups of each kind; and without the index, where each may take seconds."""


def fill(writer: Writer, events: int, rng: random.Random) -> None:
    """Write so many events, all processed."""
    outcomes: tuple[StatusChange, ...] = ()
    while writer.next_number <= events:
        numbered = singles(writer.next_number, rng)
        writer.write(Group([Append(numbered, TOGETHER, EventStatus.DEFERRED)], outcomes))
        numbers, at_ms = range(numbered.first, numbered.end), numbered.deliveries.received_at_ms[-1]
        processed = EventStatus.PROCESSED
        outcomes = (StatusChange(numbered.source_id, processed, numbers, [0] * TOGETHER, at_ms, at_ms),)
    writer.write(Group(changes=outcomes))


def singles(first: int, rng: random.Random) -> NumberedDeliveries:
    """Deliveries of one event each, two milliseconds apart."""
    ids, provider_ids = ([f"{kind}_{rng.randbytes(12).hex()}" for _ in range(TOGETHER)] for kind in ("evt", "ch"))
    bodies = [b'{"id":"%b","amount":%d}' % (each.encode(), rng.randrange(1000)) for each in provider_ids]
    found = Deliveries(
        source_id=f"source-{first // TOGETHER % SOURCES}",
        source_type="webhook",
        received_at_ms=[STARTED_MS + 2 * number for number in range(first, first + TOGETHER)],
        remote_addrs=["10.0.0.1"] * TOGETHER,
        headers=[{"content-type": "application/json"}] * TOGETHER,
        sent_at=[None] * TOGETHER,
        batched=[False] * TOGETHER,
        batch_sizes=[1] * TOGETHER,
        rejected=[()] * TOGETHER,
        counts=[1] * TOGETHER,
        bodies=bodies,
        ids=ids,
        id_from=["header.webhook-id"] * TOGETHER,
        provider_ids=provider_ids,
        types=["order.paid"] * TOGETHER,
        indexes=[0] * TOGETHER,
        payload_from=[WHOLE_ITEM] * TOGETHER,
        unsigned=[""] * TOGETHER,
        body_hashes=(),
    )
    return NumberedDeliveries(first, "abcdef", found)


def make_index(store: Store, writer: Writer) -> dict[str, object]:
    """Do all steps of the index; what they took."""
    planner, steps, put_bytes = IndexPlanner(store), 0, 0
    cpu = time.process_time()
    for step in iter(planner.plan, None):
        if not step.is_empty:
            writer.write(Group(index=step))
        steps += 1
        put_bytes += sum(len(value) for _, value in step.puts)
    cpu = time.process_time() - cpu
    events = writer.next_number - 1
    with store.read_transaction() as txn:
        index_bytes = store.bytes_of(txn, "index")
    return {
        "events": events,
        "steps": steps,
        "cpu_us_per_event": round(1e6 * cpu / events, 2),
        "put_bytes_per_event": round(put_bytes / events, 2),
        "index_bytes_per_event": round(index_bytes / events, 2),
        "other_bytes_per_event": round((store.used_bytes() - index_bytes) / events, 2),
    }


def look_ups(reader: Reader, rng: random.Random, samples_max: int) -> dict[str, object]:
    """Milliseconds of each kind of look-up: on the clock and of CPU, the median and the worst."""
    numbers = [rng.randrange(1, reader.end()) for _ in range(samples_max)]
    samples = [reader.select(EventQuery(after=number - 1, before=number + 1)).records[0] for number in numbers]
    kinds: dict[str, Callable[[int], object]] = {}
    ids = [(each.numbered.source_id, each.numbered.event_id(0)) for each in samples]
    providers = [str(each.numbered.deliveries.provider_ids[0]) for each in samples]
    times = [each.numbered.deliveries.received_at_ms[0] for each in samples]
    kinds["id"] = lambda at: reader.find(*ids[at])
    kinds["unknown id"] = lambda at: not reader.find(ids[at][0], f"{ids[at][1]}-")
    kinds["provider id"] = lambda at: first_page(reader, EventQuery(ids[at][0], provider_id=providers[at]))
    kinds["provider id, any source"] = lambda at: first_page(reader, EventQuery(provider_id=providers[at]))
    kinds["delivery"] = lambda at: reader.delivery(samples[at].numbered.delivery_ids()[0])
    kinds["10 from a time on"] = lambda at: first_page(
        reader, EventQuery(since_ms=times[at], oldest_first=True, limit=10)
    )
    kinds["the newest 10"] = lambda _: first_page(reader, EventQuery(limit=10))
    return {name: _measured(look_up, samples_max) for name, look_up in kinds.items()}


def first_page(reader: Reader, query: EventQuery) -> Sequence[EventRecord]:
    """The first page that is not empty."""
    asked: EventQuery | None = query
    while asked is not None:
        page = reader.select(asked)
        if page.records:
            return page.records
        asked = page.following
    return ()


def _measured(look_up: Callable[[int], object], samples: int) -> dict[str, float]:
    clock, cpu = [], []
    for at in range(samples):
        started, began = time.perf_counter(), time.thread_time()
        found = look_up(at)
        clock.append(1000 * (time.perf_counter() - started))
        cpu.append(1000 * (time.thread_time() - began))
        if not found:
            raise RuntimeError("something that is there was not found, or the other way round")
    return {"ms": _median(clock), "ms_max": round(max(clock), 2), "cpu_ms": _median(cpu)}


def _median(values: Sequence[float]) -> float:
    return round(sorted(values)[len(values) // 2], 2)


def run(path: Path, events: int) -> dict[str, object]:
    """Fill the store at this place unless it is there, make its index, and look up."""
    with closing(Store.open(path, map_size_bytes=MAP_BYTES, mode="write")) as store:
        writer, reader = Writer(store), Reader(store)
        fill(writer, events, random.Random(SEED))
        without = look_ups(reader, random.Random(SEED), SAMPLES_WITHOUT)
        made = make_index(store, writer)
        return made | {"look_ups": look_ups(reader, random.Random(SEED), SAMPLES), "without": without}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--store", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        print(json.dumps(run(arguments.store or Path(name) / "store", arguments.events), indent=2))


if __name__ == "__main__":
    main()
