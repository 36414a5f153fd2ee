"""What the store holds, as values: deliveries and their events, changes of their status, and groups.

An event's number is its place in the log: rising, never reused once committed. Times are milliseconds since the epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from storage.record import record
from storage.statuses import EventStatus, Totals

DIGEST_BYTES = 16
"""Of a digest of (source, event id)."""

GENERATED = "generated"
"""`id_from` of an event that came without an id and has `<delivery>-<index>` for one."""


@record
class Facts:
    """What intake found in one accepted request. Stored with its body and never recomputed on reading.

    The sequences `ids` to `indexes` have one entry an event, in the order of the items.
    """

    source_id: str
    source_type: str
    received_at_ms: int
    remote_addr: str
    headers: Mapping[str, str]
    """The kept headers, lower-case names."""
    batched: bool
    """The body was an array, or an object with `batch`."""
    batch_size: int
    """Items sent, rejected ones included."""
    ids: Sequence[str | None]
    """None: `<delivery>-<index>`, since the delivery has no id before it is gathered."""
    id_from: Sequence[str]
    """Where each id was found, for example `body.inbound_event_id`, `header.webhook-id`, `hash` or `generated`."""
    provider_ids: Sequence[str | None]
    types: Sequence[str]
    indexes: Sequence[int]
    """The place of each event among the items sent."""
    rejected: Sequence[tuple[int, str, str]]
    """Items that are no events: index, code, message."""
    sent_at: str | None

    @property
    def count(self) -> int:
        return len(self.types)


@record
class Stored:
    """One delivery with its numbers: its events are `first` .. `first + facts.count - 1`."""

    first: int
    id: str
    """The delivery's id: the first number in 13 base-32 digits, `-`, 6 random characters."""
    facts: Facts
    body: bytes
    """As decoded. Empty where nothing of the delivery was admitted or deferred."""

    @property
    def source_id(self) -> str:
        return self.facts.source_id

    @property
    def received_at_ms(self) -> int:
        return self.facts.received_at_ms

    @property
    def count(self) -> int:
        """Of events."""
        return len(self.facts.types)

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self.body)

    def event_id(self, position: int) -> str:
        """The inbound_event_id of the event at `position` in the facts."""
        found = self.facts.ids[position]
        return f"{self.id}-{self.facts.indexes[position]}" if found is None else found


@record
class Columns:
    """What intake found in requests of one source that came together and hold one event each: a list a field.

    An entry means what it means in the `Facts` of a delivery that is no batch and of which nothing was rejected.
    """

    source_id: str
    source_type: str
    received_at_ms: int
    remote_addrs: list[str]
    headers: list[Mapping[str, str]]
    ids: list[str | None]
    id_from: list[str]
    provider_ids: list[str | None]
    types: list[str]
    sent_at: list[str | None]
    bodies: list[bytes]

    @property
    def count(self) -> int:
        """Of events, and of requests."""
        return len(self.bodies)


@record
class Singles:
    """Deliveries of one event each, with their numbers: `first` and the next ones. As many as there are bodies.

    They are kept in columns on their way to the disk, since an object for each costs more than all else there.
    """

    first: int
    suffix: str
    """What the id of each ends with."""
    columns: Columns

    @property
    def source_id(self) -> str:
        return self.columns.source_id

    @property
    def received_at_ms(self) -> int:
        return self.columns.received_at_ms

    @property
    def count(self) -> int:
        """Of events, and of deliveries."""
        return self.columns.count

    @property
    def size(self) -> int:
        """Bytes of the bodies."""
        return sum(map(len, self.columns.bodies))


@record
class Append:
    """What is to be written: the first `admitted` events are pending, the others have the status `rest`."""

    stored: Stored | Singles
    admitted: int
    rest: EventStatus
    """DEFERRED or DROPPED; of no meaning where all are admitted."""


@record
class StatusChange:
    """What became of some events of one source, all of one status.

    `numbers` ascend. `attempts` has one entry an event. A pending status records attempts only (PENDING: a failed
    attempt; of a dead event: a requeue). `originals` are the numbers of the processed twins, where the status is
    DUPLICATE.
    `details` maps numbers to JSON: `{"result": …}` of a processed event, `{"error": "…"}` of a dead one.
    """

    source_id: str
    status: EventStatus
    numbers: Sequence[int]
    attempts: Sequence[int]
    at_ms: int
    originals: Sequence[int] = ()
    details: Mapping[int, bytes] = field(default_factory=dict)


@record
class Group:
    """What one transaction writes."""

    appends: Sequence[Append] = ()
    """In the order of their numbers, source by source, without a gap."""
    outcomes: Sequence[StatusChange] = ()
    oldest: Mapping[str, int] = field(default_factory=dict)
    """A lower bound for the number of each source's oldest pending event, where more is known than is stored."""


@record
class Written:
    """What a committed group left behind."""

    digests: Sequence[bytes]
    """For each append, 16 bytes an event."""
    totals: Mapping[str, Totals]
    """The new totals of the sources that the group touched."""
    used_bytes: int
    """Bytes of the store in use, without reusable pages."""


@record
class Span:
    """Pending events of one delivery that go the same way together."""

    stored: Stored | None
    """None where the events need not be built (a source without a processor)."""
    source_id: str
    numbers: Sequence[int]
    digests: bytes
    """16 bytes an event."""
    attempts: Sequence[int]
    deferred: bool
    """The stored status of all of them is DEFERRED; otherwise PENDING."""
    received_at_ms: int


@record
class Page:
    """A stretch of the log as read for one source."""

    spans: Sequence[Span]
    next: int
    """The number to read on from: nothing of this source waits between the last span and it."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event as the store knows it."""

    stored: Stored
    position: int
    status: EventStatus
    attempts: int
    at_ms: int
    """When the outcome was recorded; 0 while there is none."""
    duplicate_of: str | None
    """The delivery of the processed twin."""
    detail: Mapping[str, object]
    """`result` or `error`, or nothing."""

    @property
    def number(self) -> int:
        return self.stored.first + self.position
