"""What the store holds, as values: changes of statuses, groups, and what is read.

An event's number is its place in the log: rising, never reused once committed. Times are milliseconds: `at_ms` of the
wall clock, since the epoch, for people to read; `store_ms` of the store's time, for what expires.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field

from storage.deliveries import NumberedDeliveries
from storage.delivery_id import delivery_id
from storage.frozen import frozen
from storage.history import Turn
from storage.index_step import IndexStep
from storage.removal import Removal
from storage.rewrite import Erasure
from storage.statuses import EventStatus, Totals

DIGEST_BYTES = 16
"""Of a digest of (source, event id)."""


@frozen
class Append:
    """What is to be written: the first `admitted` events are pending, the others have the status `rest`."""

    numbered: NumberedDeliveries
    admitted: int
    rest: EventStatus
    """DEFERRED or DROPPED; of no meaning where all are admitted."""
    store_ms: int = 0
    """When it was received, to the minute; 0 if that is not known."""


@frozen
class StatusChange:
    """What became of some events of one source, all of one status.

    `numbers` ascend. `attempts` has one entry an event; DISCARDED changes none. A pending status records attempts only
    (PENDING: a failed attempt; of a dead event: a requeue). `originals` are the numbers of the processed twins, where
    the status is DUPLICATE.
    `details` maps numbers to JSON: `{"result": …}` of a processed event, `{"error": "…"}` of a dead one and of one that
    failed. `histories` maps all of them, or none, to what `storage/history.py` makes of an event that had died.
    """

    source_id: str
    status: EventStatus
    numbers: Sequence[int]
    attempts: Sequence[int]
    at_ms: int
    store_ms: int
    """When it was decided; of no meaning for a pending status."""
    originals: Sequence[int] = ()
    details: Mapping[int, bytes] = field(default_factory=dict)
    histories: Mapping[int, bytes] = field(default_factory=dict)


@frozen
class Group:
    """What one transaction writes."""

    appends: Sequence[Append] = ()
    """In the order of their numbers, source by source, without a gap."""
    changes: Sequence[StatusChange] = ()
    oldest: Mapping[str, int] = field(default_factory=dict)
    """A lower bound for the number of each source's oldest pending event, where more is known than is stored."""
    removal: Removal | None = None
    """What leaves the store then, see `storage/retain`."""
    index: IndexStep | None = None
    """What the look-up index gets then, see `storage/index`."""
    replays: Mapping[str, bytes | None] = field(default_factory=dict)
    """The records of replays, by their ids, as they are then; None: it leaves."""
    erasure: Erasure | None = None
    """By which something is forgotten, see `storage/forget`."""


@frozen
class Written:
    """What a committed group left behind."""

    digests: Sequence[bytes]
    """For each append, 16 bytes an event."""
    body_digests: Sequence[bytes]
    """For each append, 16 bytes an event; b"" if its events are not known by their bodies."""
    totals: Mapping[str, Totals]
    """The new totals of the sources that the group touched."""
    used_bytes: int
    """Bytes of the store in use, without reusable pages."""


@frozen
class Span:
    """Pending events of one source that go the same way together."""

    numbered: NumberedDeliveries | None
    """The deliveries that hold them; None if the events need not be built (a source without a processor)."""
    source_id: str
    numbers: Sequence[int]
    digests: bytes
    """16 bytes an event."""
    attempts: Sequence[int]
    deferred: bool
    """The stored status of all of them is DEFERRED; otherwise PENDING."""
    received_at_ms: int
    """Of the first of them."""
    store_ms: int = 0
    """When all of them were received, to the minute; 0 if they are requeued."""
    body_digests: bytes = b""
    """16 bytes an event; b"" if they are not known by their bodies."""


@frozen
class Page:
    """A stretch of the log as read for one source."""

    spans: Sequence[Span]
    next: int
    """The number to read on from: nothing of this source waits between the last span and it."""


@frozen
class EventRecord:
    """One event as the store knows it."""

    numbered: NumberedDeliveries
    """Its delivery; if it was read with others, these may be there, before it and after it, and are shared."""
    place: int
    """Of its delivery among those."""
    position: int
    """Of the event among all events of those."""
    status: EventStatus
    attempts: int
    at_ms: int
    """When the outcome was recorded; 0 while there is none."""
    duplicate_of: str | None
    """The delivery of the processed twin."""
    detail: Mapping[str, object]
    """`result` or `error`, or nothing."""
    left_at_ms: int = 0
    """By when its body had left; 0 if it is there, or was never kept."""
    history: Sequence[Turn] = ()
    """What became of it before, if it ever died."""

    @property
    def number(self) -> int:
        return self.numbered.first + self.position

    @property
    def delivery_id(self) -> str:
        """The id of its delivery."""
        return delivery_id(self.numbered.first_of(self.place), self.numbered.suffix)

    @property
    def received_at_ms(self) -> int:
        """When its delivery was received, by the wall clock."""
        return self.numbered.deliveries.received_at_ms[self.place]

    @property
    def forgotten_at_ms(self) -> int:
        """When it was forgotten, by the wall clock; 0 if it was not."""
        return self.numbered.forgotten_at(self.position)

    @property
    def has_body(self) -> bool:
        """Whether it can be built from its body, if it was read with bodies."""
        is_kept = not self.forgotten_at_ms and self.status is not EventStatus.DISCARDED
        return is_kept and bool(self.numbered.deliveries.bodies[self.place])
