"""The interpreter's collector of garbage in cycles, tuned for this server at its start."""

import gc

import trio

GC_OBJECTS = 100_000
"""Containers made before the collector looks at the young ones. A batch of 1000 events makes ten thousand dicts, which
die without it; at the default of 700 it looks at them a dozen times, which takes half of the time of a batch."""

GC_YOUNG, GC_MIDDLE = 20, 100
"""Collections of a generation before one of the next: what is old here stays old."""

YOUNG_SECONDS = 60
"""How often the young ones are looked at in any case. Each request that werkzeug routes, and each reload, leaves a few
cycles. In the soak these were 38 containers and 6 kB a second: GC_OBJECTS after three quarters of an hour."""


def tune() -> None:
    """Tune the collector; call when everything is built, since what is there by then is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, GC_YOUNG, GC_MIDDLE)


async def collect_young() -> None:
    """Collect what is young, every YOUNG_SECONDS."""
    while True:
        await trio.sleep(YOUNG_SECONDS)
        gc.collect(1)
