"""Stores made ahead: so many known ids, and so much on disk, as a server would have written them."""

import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from bench.micro import HEADERS, SOURCE
from bench.workload import batch, track, with_serial
from server.base.refusal import Refusal
from server.intake.headers import scan
from server.intake.normalise import delivery
from server.intake.parse import Body
from storage.deliveries import NumberedDeliveries
from storage.lmdb_store.environment import Store
from storage.model import Append, Group, StatusChange
from storage.statuses import EventStatus
from storage.write.writer import Writer

EVENTS = 1000
"""In one delivery, and in one transaction."""
DIFFERENT = 20
"""Bodies made ahead; each time with other ids."""
BULKY_BYTES = 4096
"""Random bytes, in hexadecimal, in each event of a store that is to be large."""
MAP_BYTES = 64 << 30
CONTAINERS_MAX = 10**6
ERROR = b'{"error":"ConnectionError: nobody answered"}'


def fill(path: Path, events: int, seed: int) -> None:
    """Add so many processed events, rounded down to whole deliveries."""
    rng = random.Random(seed)
    _write(path, [batch(rng, EVENTS) for _ in range(DIFFERENT)], deliveries=events // EVENTS)


def fill_dead(path: Path, events: int, seed: int) -> None:
    """Add so many dead events, rounded down to whole deliveries."""
    rng = random.Random(seed)
    pool = [batch(rng, EVENTS) for _ in range(DIFFERENT)]
    _write(path, pool, deliveries=events // EVENTS, status=EventStatus.DEAD)


def fill_up(path: Path, used_bytes: int, seed: int) -> int:
    """Add processed events that hardly compress, until the store uses so many bytes; how many there were."""
    rng = random.Random(seed)
    items = [track(rng) | {"properties": {"bulk": rng.randbytes(BULKY_BYTES).hex()}} for _ in range(EVENTS)]
    return _write(path, [orjson.dumps({"batch": items})], used_bytes=used_bytes) * EVENTS


def copy(source: Path, target: Path) -> None:
    """A store as it is, on disk: nothing of it is left to be written while another one is measured."""
    shutil.copytree(source, target)
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _write(
    path: Path,
    pool: Sequence[bytes],
    *,
    deliveries: int = 1 << 31,
    used_bytes: int = MAP_BYTES,
    status: EventStatus = EventStatus.PROCESSED,
) -> int:
    """So many deliveries, or until the store uses so many bytes; how many there were."""
    store = Store.open(path, map_size_bytes=MAP_BYTES, mode="write")
    written = 0
    try:
        writer = Writer(store)
        outcomes: tuple[StatusChange, ...] = ()
        for numbered in _deliveries(pool, deliveries, writer):
            writer.write(Group([Append(numbered, EVENTS, EventStatus.DEFERRED)], outcomes))
            numbers, at_ms = range(numbered.first, numbered.end), numbered.deliveries.received_at_ms[0]
            details = dict.fromkeys(numbers, ERROR) if status is EventStatus.DEAD else {}
            outcomes = (StatusChange(SOURCE.id, status, numbers, [0] * EVENTS, at_ms, at_ms, details=details),)
            written += 1
            if store.used_bytes() >= used_bytes:
                break
        if outcomes:
            writer.write(Group(changes=outcomes))
    finally:
        store.close()
    return written


def _deliveries(pool: Sequence[bytes], count: int, writer: Writer) -> Iterator[NumberedDeliveries]:
    for serial in range(count):
        body = with_serial(pool[serial % len(pool)], serial)
        found = delivery(
            SOURCE,
            scan(HEADERS),
            Body(orjson.loads(body), body),
            received_at_ms=time.time_ns() // 1_000_000,
            remote_addr="127.0.0.1",
            batch_events_max=EVENTS,
        )
        if isinstance(found, Refusal):
            raise TypeError(f"a body of our own is refused: {found}")
        yield NumberedDeliveries(writer.next_number, "abcdef", found)
