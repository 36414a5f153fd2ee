"""What is looked for among all events: a pure description, for whoever lists, exports or changes many of them."""

from collections.abc import Sequence
from dataclasses import replace

from storage.frozen import frozen
from storage.statuses import EventStatus


@frozen
class Where:
    """A value that an event has at a path through its normalised form."""

    path: Sequence[str]
    """Keys of objects, and places in arrays as digits, from the event's own fields on: `("payload", "order", "id")`."""
    values: Sequence[object]
    """The JSON scalars that match, each with its type: 1 is neither True nor 1.0 nor "1"."""


@frozen
class EventQuery:
    """Which events: those that meet every condition that is set. None, and an empty list, mean any.

    `after` and `before` go by numbers, the other pair by when the delivery was received, in ms of the wall clock.
    """

    source_id: str | None = None
    since_ms: int | None = None
    """Received then or later."""
    until_ms: int | None = None
    """Received before."""
    statuses: Sequence[EventStatus] = ()
    event_type: str | None = None
    event_id: str | None = None
    """The whole `inbound_event_id`; found by the index."""
    id_prefix: str | None = None
    """How the `inbound_event_id` begins; a scan."""
    provider_id: str | None = None
    """The whole `provider_event_id`; found by the index."""
    where: Sequence[Where] = ()
    """All of them must match; each event that meets the rest is built for it."""
    after: int = 0
    """Numbers greater than this."""
    before: int | None = None
    """Numbers less than this."""
    oldest_first: bool = False
    limit: int | None = None
    """At most so many events, counted over all pages."""

    @property
    def looks_into_facts(self) -> bool:
        """Whether more is asked than what heads and statuses tell."""
        asked = (self.event_type, self.event_id, self.id_prefix, self.provider_id, self.since_ms, self.until_ms)
        return bool(self.where) or any(each is not None for each in asked)

    def behind(self, number: int) -> "EventQuery":
        """Return the query for what comes behind this event, in its order; as many of it as of this one."""
        return replace(self, after=number) if self.oldest_first else replace(self, before=number)
