"""Garbage in cycles leaves soon, however rarely the tuned collector looks by itself."""

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from server.runtime.gc import YOUNG_SECONDS, collect_young


class Cycle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def never_by_itself() -> Iterator[None]:
    """The collector works when it is called, and not before."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("never_by_itself")
async def test_young_cycles_are_collected_soon(autojump_clock: trio.testing.MockClock) -> None:
    """What has become garbage in a minute is gone when that is over, and so is the next minute's."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect_young)
        for _ in range(2):
            left = weakref.ref(Cycle())
            assert left() is not None
            await trio.sleep(YOUNG_SECONDS + 1)  # of the mock clock, which jumps
            assert left() is None
        nursery.cancel_scope.cancel()
