"""Events are built from their bodies without holding up the loop for more than one record of them."""

import pytest
import trio

from server.flow.item import AT_ONCE_BYTES, Item, events_of
from tests.support.store import numbered


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
