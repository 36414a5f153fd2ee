"""What the load generators send: seeded, with random ids and values, in the sizes that real senders have."""

import random
from collections.abc import Iterator

import orjson

SEED = 20260

TOKEN = "for-measuring-only"

SERIAL = "00000000-"
"""Begins every id. A sender that repeats a body puts another number of this width there, so that no id comes twice."""


def webhook(rng: random.Random) -> bytes:
    """One webhook event, about 120 bytes."""
    return orjson.dumps(
        {
            "inbound_event_id": f"{SERIAL}{rng.getrandbits(80):020x}",
            "event_type": "lead.updated",
            "payload": {"lead_id": f"lead_{rng.randrange(10**6)}", "status": rng.choice(("new", "qualified", "lost"))},
        }
    )


def track(rng: random.Random) -> dict[str, object]:
    """One Segment track event, about 450 bytes as JSON."""
    return {
        "type": "track",
        "messageId": f"{SERIAL}{rng.getrandbits(96):024x}",
        "userId": f"user-{rng.randrange(10**6)}",
        "anonymousId": f"{rng.getrandbits(64):016x}",
        "event": rng.choice(("Order Completed", "Product Viewed", "Cart Viewed", "Signed Up")),
        "timestamp": f"2026-10-{rng.randrange(1, 29):02d}T{rng.randrange(24):02d}:{rng.randrange(60):02d}:00.000Z",
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}, "ip": f"10.0.0.{rng.randrange(256)}"},
        "properties": {"revenue": rng.randrange(10**5) / 100, "currency": "EUR", "sku": f"sku-{rng.randrange(10**4)}"},
    }


def single_track(rng: random.Random) -> bytes:
    return orjson.dumps(track(rng))


def batch(rng: random.Random, events: int) -> bytes:
    """A Segment batch of so many distinct events."""
    return orjson.dumps({"batch": [track(rng) for _ in range(events)], "sentAt": "2026-10-01T00:00:00.000Z"})


def with_serial(request: bytes, serial: int) -> bytes:
    """The same request with other ids, as random as before and of the same length."""
    return request.replace(SERIAL.encode(), b"%08x-" % serial)


def bodies(kind: str, events: int, rng: random.Random) -> Iterator[bytes]:
    """Bodies for ever: of "webhook", or "segment" with so many events each."""
    while True:
        if kind == "webhook":
            yield webhook(rng)
        else:
            yield single_track(rng) if events == 1 else batch(rng, events)
