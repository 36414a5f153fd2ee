"""What the load generators send: seeded, with random ids and values, in the sizes that real senders have."""

import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

SEED = 20260

TOKEN = "for-measuring-only"

SERIAL = "00000000-"
"""Begins every id. A sender that repeats a body puts another number of this width there, so that no id comes twice."""

REPEATED = "repeated-"
"""Begins the ids of events that are meant to come again: no number is put there."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of load, and how many connections it comes on."""

    name: str
    kind: str
    """"webhook" or "segment": the source's type, and its id."""
    events: int
    """In one request."""
    connections: int
    repeated: float = 0.0
    """Share of events that are sent again and again."""
    gzip: bool = False
    vary: bool = False
    """A traceparent and a signature of its own in each head."""


WORKLOADS = (
    Workload("single webhook", "webhook", 1, 256),
    Workload("single Segment", "segment", 1, 256),
    Workload("single Segment, varying heads", "segment", 1, 256, vary=True),
    Workload("batches of 10", "segment", 10, 256),
    Workload("batches of 100", "segment", 100, 64),
    Workload("batches of 1000", "segment", 1000, 16),
    Workload("batches of 100, 10 % duplicates", "segment", 100, 64, repeated=0.1),
    Workload("batches of 100, gzip", "segment", 100, 64, gzip=True),
)


def webhook(rng: random.Random, serial: str = SERIAL) -> bytes:
    """One webhook event, about 120 bytes."""
    return orjson.dumps(
        {
            "inbound_event_id": f"{serial}{rng.getrandbits(80):020x}",
            "event_type": "lead.updated",
            "payload": {"lead_id": f"lead_{rng.randrange(10**6)}", "status": rng.choice(("new", "qualified", "lost"))},
        }
    )


def track(rng: random.Random, serial: str = SERIAL) -> dict[str, object]:
    """One Segment track event, about 450 bytes as JSON."""
    return {
        "type": "track",
        "messageId": f"{serial}{rng.getrandbits(96):024x}",
        "userId": f"user-{rng.randrange(10**6)}",
        "anonymousId": f"{rng.getrandbits(64):016x}",
        "event": rng.choice(("Order Completed", "Product Viewed", "Cart Viewed", "Signed Up")),
        "timestamp": f"2026-10-{rng.randrange(1, 29):02d}T{rng.randrange(24):02d}:{rng.randrange(60):02d}:00.000Z",
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}, "ip": f"10.0.0.{rng.randrange(256)}"},
        "properties": {"revenue": rng.randrange(10**5) / 100, "currency": "EUR", "sku": f"sku-{rng.randrange(10**4)}"},
    }


def single_track(rng: random.Random) -> bytes:
    return orjson.dumps(track(rng))


def batch(rng: random.Random, events: int, repeated: float = 0.0) -> bytes:
    """A Segment batch of so many distinct events; this share of them keeps its ids when the body is sent again."""
    fixed = round(events * repeated)
    items = [track(rng, REPEATED if index < fixed else SERIAL) for index in range(events)]
    return orjson.dumps({"batch": items, "sentAt": "2026-10-01T00:00:00.000Z"})


def with_serial(request: bytes, serial: int) -> bytes:
    """The same request with other ids, as random as before and of the same length."""
    return request.replace(SERIAL.encode(), b"%08x-" % serial)


def bodies(kind: str, events: int, rng: random.Random, repeated: float = 0.0) -> Iterator[bytes]:
    """Bodies for ever: of "webhook", or "segment" with so many events each."""
    while True:
        if kind == "webhook":
            yield webhook(rng)
        else:
            yield single_track(rng) if events == 1 else batch(rng, events, repeated)


def pool(workload: Workload, count: int, rng: random.Random) -> Iterator[bytes]:
    """So many bodies of a workload. Packed ones have ids of their own already, from 50 bodies that differ in more."""
    made = bodies(workload.kind, workload.events, rng, workload.repeated)
    if not workload.gzip:
        yield from (next(made) for _ in range(count))
        return
    different = [next(made) for _ in range(min(count, 50))]
    for serial in range(count):
        yield gzip.compress(with_serial(different[serial % len(different)], serial), compresslevel=1, mtime=0)
