"""Deliveries as columns: the one form they have from intake to disk, and outward until an event is built.

One delivery of a thousand events and a thousand deliveries of one event are the same type. Columns are cheap: what is
done to each event is one step of C over a list, and what is alike for all is written once.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any

from storage.delivery_id import delivery_id, delivery_ids
from storage.frozen import frozen

GENERATED = "generated"
"""`id_from` of an event that came without an id and has `<delivery>-<index>` for one."""

WHOLE_ITEM = "item"
"""`payload_from` of an event whose payload is its item."""

PAYLOAD_KEY = "payload"
"""`payload_from` of an event whose payload is what its item has under this key."""

Rejection = tuple[int, str, str]
"""An item that is not an event: its index, a code, a message."""


@frozen
class Deliveries:
    """What intake found in requests of one source, with their bodies. Stored, and never decided again on reading.

    Columns of deliveries have an entry for each request, in the order in which they came; columns of events have one
    for each event, delivery by delivery, in the order of the items.
    """

    source_id: str
    source_type: str

    received_at_ms: Sequence[int]
    """Of each delivery, and so are the columns down to `bodies`."""
    remote_addrs: Sequence[str]
    headers: Sequence[Mapping[str, str]]
    """The kept ones, lower-case names."""
    sent_at: Sequence[str | None]
    batched: Sequence[bool]
    """The body is an array of items, or an object that has one: `batch` of SDKs, `value` of a webhook."""
    batch_sizes: Sequence[int]
    """Items sent, rejected ones included."""
    rejected: Sequence[Sequence[Rejection]]
    counts: Sequence[int]
    """Events, at least one."""
    bodies: Sequence[bytes]
    """As decoded. Empty if nothing of the delivery was admitted or deferred."""
    body_hashes: Sequence[str]
    """Of each body as it was received, in hex, if equal ones are duplicates; else there is no entry at all."""

    ids: Sequence[str | None]
    """Of each event, and so are the columns from here on. None: `<delivery>-<index>`, since a delivery has no id before
    it has a number."""
    id_from: Sequence[str]
    """Where the id was found, for example `body.inbound_event_id`, `header.webhook-id`, `hash` or `generated`."""
    provider_ids: Sequence[str | None]
    types: Sequence[str]
    indexes: Sequence[int]
    """The place among the items sent."""
    payload_from: Sequence[str]
    """How the payload was chosen: WHOLE_ITEM or PAYLOAD_KEY."""
    unsigned: Sequence[str]
    """What of `event_id` and `event_type` came from a header that the body's signature says nothing of, joined by
    commas; "" for nothing, and where there was no signature."""
    replay_of: Sequence[int] = ()
    """Of each event that is another one once more, the number of that one; of events that came, nothing."""
    forgotten_at_ms: Sequence[int] = ()
    """When each event was forgotten, 0 if it was not; nothing if none was. Of one that was, there is no item in the
    body, and the delivery has neither headers nor an address."""

    @property
    def count(self) -> int:
        """How many events there are."""
        return len(self.types)

    @property
    def size(self) -> int:
        """Bytes of the bodies."""
        return sum(map(len, self.bodies))


_FIELDS = tuple(Deliveries.__annotations__)
_FIRST_OF_EVENTS = _FIELDS.index("ids")
_read_all = attrgetter(*_FIELDS)


@frozen
class NumberedDeliveries:
    """Deliveries whose events have numbers: `first`, and on from it without a gap."""

    first: int
    suffix: str
    """What the id of each delivery ends with."""
    deliveries: Deliveries

    @property
    def source_id(self) -> str:
        return self.deliveries.source_id

    @property
    def has_body_hashes(self) -> bool:
        """Whether its events are known by their bodies, too."""
        return bool(self.deliveries.body_hashes)

    @property
    def count(self) -> int:
        """How many events there are."""
        return len(self.deliveries.types)

    @property
    def end(self) -> int:
        """The number after the last event."""
        return self.first + len(self.deliveries.types)

    def firsts(self) -> Sequence[int]:
        """Return the number of the first event of each delivery."""
        deliveries = self.deliveries
        if len(deliveries.bodies) == len(deliveries.types):
            return range(self.first, self.first + len(deliveries.types))
        return list(accumulate(deliveries.counts[:-1], initial=self.first))

    def delivery_ids(self) -> list[str]:
        """Return the id of each delivery."""
        return delivery_ids(self.firsts(), self.suffix)

    def event_ids(self) -> Sequence[str]:
        """Return the `inbound_event_id` of each event, generated ones included."""
        deliveries = self.deliveries
        ids: Sequence[str] = deliveries.ids  # type: ignore[assignment]  # none is missing, but for what follows
        if None not in ids:
            return ids
        owners = chain.from_iterable(
            [own] * count for own, count in zip(self.delivery_ids(), deliveries.counts, strict=True)
        )
        entries = zip(owners, deliveries.ids, deliveries.indexes, strict=True)
        return [f"{own}-{index}" if found is None else found for own, found, index in entries]

    def event_id(self, position: int) -> str:
        """Return the `inbound_event_id` of the event at this place in the columns of events."""
        found = self.deliveries.ids[position]
        if found is not None:
            return found
        firsts = self.firsts()
        own = delivery_id(firsts[bisect_right(firsts, self.first + position) - 1], self.suffix)
        return f"{own}-{self.deliveries.indexes[position]}"

    def forgotten_at(self, position: int) -> int:
        """Return when the event at this place in the columns of events was forgotten; 0 if it was not."""
        return self.deliveries.forgotten_at_ms[position] if self.deliveries.forgotten_at_ms else 0

    def place_of(self, number: int) -> int:
        """Return the place of the delivery that holds the event with this number."""
        return self.places_of([number])[0]

    def places_of(self, numbers: Sequence[int]) -> list[int]:
        """Return the place of the delivery of each of these events."""
        firsts = self.firsts()
        if isinstance(firsts, range):
            return [number - self.first for number in numbers]
        return [bisect_right(firsts, number) - 1 for number in numbers]

    def first_of(self, place: int) -> int:
        """Return the number of the first event of the delivery at this place."""
        deliveries = self.deliveries
        is_of_singles = len(deliveries.bodies) == len(deliveries.types)
        return self.first + (place if is_of_singles else sum(deliveries.counts[:place]))

    def holding(self, first: int, last: int) -> "NumberedDeliveries":
        """Return those deliveries that hold the events with these two numbers, and all between them."""
        return self.part(self.place_of(first), self.place_of(last) + 1)

    def part(self, start: int, stop: int) -> "NumberedDeliveries":
        """Return the deliveries at the places `start` .. `stop - 1`, with their events."""
        deliveries = self.deliveries
        if stop - start == len(deliveries.bodies):
            return self
        low = sum(deliveries.counts[:start])
        high = low + sum(deliveries.counts[start:stop])
        source_id, source_type, *columns = _read_all(deliveries)
        own = [column[start:stop] for column in columns[: _FIRST_OF_EVENTS - 2]]
        events = [column[low:high] for column in columns[_FIRST_OF_EVENTS - 2 :]]
        return NumberedDeliveries(self.first + low, self.suffix, Deliveries(source_id, source_type, *own, *events))


def merged(parts: Sequence[NumberedDeliveries]) -> NumberedDeliveries:
    """Return these as one: they are of one source, type and suffix, all or none have hashes of their bodies, and their
    numbers follow one another."""
    one = parts[0]
    if len(parts) == 1:
        return one
    source_id, source_type = one.deliveries.source_id, one.deliveries.source_type
    columns: Iterator[Sequence[Sequence[Any]]] = zip(*[_read_all(part.deliveries)[2:] for part in parts], strict=True)
    joined: Iterator[list[Any]] = map(list, map(chain.from_iterable, columns))
    return NumberedDeliveries(one.first, one.suffix, Deliveries(source_id, source_type, *joined))
