"""Events in hand, one by one: what a consumer makes of the spans in its channel."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import trio

from server.flow.digests import Digests, bodies_of
from server.flow.parked import ParkedEvent
from server.intake.events import SHARED_BYTES_MAX, first_events
from storage.codec.records import split_digests
from storage.deliveries import NumberedDeliveries
from storage.frozen import frozen
from storage.model import Span

AT_ONCE_BYTES = 65536
"""Of bodies: so many are parsed in about a millisecond, unless they nest deep."""


@frozen
class Item:
    """One pending event."""

    number: int
    digest: bytes
    attempts: int
    received_at_ms: int
    store_ms: int
    """When it was received, by the store's time, to the minute; 0 if it is requeued."""
    numbered: NumberedDeliveries | None
    """The deliveries of its span; None if it need not be built."""
    body_digest: bytes = b""
    """Of its body, if events with an equal one are duplicates."""

    def to_be_parked(self) -> ParkedEvent:
        """Return what is kept of it while it is parked."""
        return ParkedEvent(
            self.number, self.digest, self.received_at_ms, self.attempts, self.store_ms, self.body_digest
        )


def items_of(spans: Sequence[Span]) -> list[Item]:
    """Return the events of these spans, in order."""
    return [
        Item(number, digest, attempts, span.received_at_ms, span.store_ms, span.numbered, body)
        for span in spans
        for number, digest, attempts, body in zip(
            span.numbers, split_digests(span.digests), span.attempts, bodies_of([span]), strict=True
        )
    ]


def digests_of_items(items: Sequence[Item]) -> Digests:
    """Return by what these events are known, in order."""
    bodies = {at: item.body_digest for at, item in enumerate(items) if item.body_digest}
    return Digests([item.digest for item in items], bodies)


async def events_of(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Return fresh normalised events of the first of these, of all unless their batches give them too much
    (SHARED_BYTES_MAX). A body is parsed once for all of its items that stand together.

    After what may take long the loop serves others: a batch may hold the events of many large bodies.
    """
    events: list[dict[str, Any]] = []
    left = SHARED_BYTES_MAX
    for _, neighbours in groupby(items, key=lambda item: id(item.numbered)):
        together = list(neighbours)
        numbered = together[0].numbered
        if numbered is None:
            raise AssertionError("an event was read without its body")
        found, given = first_events(numbered, [item.number - numbered.first for item in together], left)
        events += found
        left -= given
        if left < 0:
            break
        if numbered.deliveries.size > AT_ONCE_BYTES:
            await trio.lowlevel.checkpoint()
    return events
