"""Events are built from their bodies without holding up the loop for more than one record of them."""

import pytest
import trio

from server.flow.item import AT_ONCE_BYTES, Item, events_of
from server.intake.events import SHARED_BYTES_MAX
from tests.support.store import delivery, numbered


def items(first: int, size: int) -> list[Item]:
    made = numbered(first, 1, body=b'{"text":"%b"}' % (b"x" * size)).numbered
    return [Item(first, b"", 0, 0, 0, made)]


@pytest.mark.parametrize(("size", "turns"), [(AT_ONCE_BYTES, 2), (10, 0)], ids=["large", "small"])
async def test_others_run_between_large_bodies(size: int, turns: int) -> None:
    """Between large bodies other tasks have their turn; small ones are built in one go."""
    count = 0

    async def other() -> None:
        nonlocal count
        while True:
            await trio.lowlevel.checkpoint()
            count += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        before = count
        events = await events_of([item for first in (1, 2, 3) for item in items(first, size)])
        assert count - before >= turns
        assert turns or count == before
        assert len(events) == 3
        nursery.cancel_scope.cancel()


def of_a_batch(first: int, count: int, context_bytes: int) -> list[Item]:
    """The events of a batch of a Segment source, which gives each a context of so many bytes."""
    text, listed = "x" * (context_bytes - len('{"text":""}')), ",".join(['{"type":"page"}'] * count)
    body = f'{{"context":{{"text":"{text}"}},"batch":[{listed}]}}'.encode()
    made = delivery(first, [None] * count, source_type="segment", body=body)
    return [Item(first + at, b"", 0, 0, 0, made) for at in range(count)]


@pytest.mark.parametrize(
    ("contexts", "built"),
    [
        ([1000, 1000], 20),
        ([SHARED_BYTES_MAX // 11, 1000], 20),
        ([SHARED_BYTES_MAX // 4, 1000], 5),
        ([1000, SHARED_BYTES_MAX // 4], 14),
        ([SHARED_BYTES_MAX * 2, 1000], 1),
    ],
)
async def test_what_batches_share_is_bounded(contexts: list[int], built: int) -> None:
    """Of two batches of ten events no more are built than until they were given too much, and one in any case."""
    items = [item for at, each in enumerate(contexts) for item in of_a_batch(1 + 10 * at, 10, each)]
    events = await events_of(items)
    assert [event["meta"]["number"] for event in events] == [*range(1, built + 1)]
    assert all(event["payload"]["context"] for event in events)
