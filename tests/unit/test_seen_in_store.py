"""Ids of requeued events in the store: looked up for many at a time, and kept true."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import trio

from server.flow.seen_in_store import LOOK_AHEAD_EVENTS, SeenInStore
from storage.model import Span


def digest_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Store:
    """A reader, and its thread, of a store in which the event 7 of the id 1 was processed."""

    def __init__(self) -> None:
        self.scans: list[int] = []

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*arguments)

    def spans(self, numbers: Sequence[int], *, bodies: bool) -> list[Span]:
        digests = b"".join(map(digest_of, numbers))
        return [Span(None, "demo", numbers, digests, [0] * len(numbers), False, 1000)]

    def processed(self, wanted: Collection[bytes], before: int | None) -> tuple[dict[bytes, int], int | None]:
        self.scans.append(len(wanted))
        return {digest: 7 for digest in wanted if digest == digest_of(1)}, None


async def test_one_scan_serves_those_that_follow() -> None:
    """The ids of the next requeued events are looked up with the first ones, up to a bound."""
    store: Any = Store()
    seen = SeenInStore(store, store)
    assert not seen.knows([digest_of(1)])
    await seen.look_up([digest_of(1), digest_of(2)], range(20_000, 2, -1), [])
    assert store.scans == [2 + LOOK_AHEAD_EVENTS]
    assert seen.knows([digest_of(at) for at in range(1, LOOK_AHEAD_EVENTS)])
    assert not seen.knows([digest_of(1), digest_of(20_000)])
    assert seen.of({0: digest_of(1), 4: digest_of(2)}) == {0: 7}


async def test_what_is_processed_meanwhile_is_seen() -> None:
    """A second event of an id that was looked up before the first was processed is its duplicate."""
    store: Any = Store()
    seen = SeenInStore(store, store)
    await seen.look_up([digest_of(2)], [3, 4], {digest_of(2), digest_of(4)})
    assert not seen.knows([digest_of(4)]), "an outcome of it may be on its way"
    seen.processed([digest_of(3), digest_of(9)], [30, 90])
    assert seen.of({0: digest_of(2), 1: digest_of(3)}) == {1: 30}
    assert not seen.knows([digest_of(9)])
    seen.forget()
    assert not seen.knows([digest_of(2)])
