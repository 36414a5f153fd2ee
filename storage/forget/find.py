"""Which events are forgotten with an id: all of its source that have it, and their replays, to whichever source."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from storage.codec.records import digest
from storage.frozen import frozen
from storage.read.lookup import events_of, hits
from storage.read.snapshot import Snapshots
from storage.statuses import PENDING_STATUSES, EventStatus


@frozen
class OfId:
    """An event of an id that is to be forgotten."""

    number: int
    source_id: str
    status: EventStatus
    attempts: int
    is_listed: bool
    """Whether it is dead and can be given back."""
    is_forgotten: bool
    """Whether it was before."""

    @property
    def is_pending(self) -> bool:
        return self.status in PENDING_STATUSES


@frozen
class Chosen:
    """What of some ids is forgotten, and what is not."""

    ids: int
    events: Sequence[OfId]
    pending: Sequence[str]
    """Ids that are left alone, since an event of theirs is pending."""
    unknown: Sequence[str]
    """Ids of which there is no event."""


def chosen(found: Mapping[str, Sequence[OfId]], *, pending: bool) -> Chosen:
    """Return what is forgotten of what was found by ids; if `pending`, what has no outcome yet too."""
    left = [] if pending else [each for each, events in found.items() if any(event.is_pending for event in events)]
    taken = [events for each, events in found.items() if events and each not in left]
    events = [event for those in taken for event in those if not event.is_forgotten]
    return Chosen(len(taken), events, left, [each for each, those in found.items() if not those])


def events_of_id(snapshots: Snapshots, source_id: str, event_id: str, source_ids: Collection[str]) -> list[OfId]:
    """Return them, ascending. `source_ids`: all that have events."""
    found = list(_of_source(snapshots, source_id, event_id))
    originals = {each.number for each, _ in found}
    others = [each for other in source_ids if other != source_id for each in _of_source(snapshots, other, event_id)]
    for event, replay_of in sorted(others, key=lambda each: each[0].number):
        if replay_of in originals:
            found.append((event, replay_of))
            originals.add(event.number)
    return sorted((event for event, _ in found), key=lambda each: each.number)


def _of_source(snapshots: Snapshots, source_id: str, event_id: str) -> Iterator[tuple[OfId, int]]:
    """Yield those of a source, with the number of the event that each replays; 0 if none."""
    for numbers, _, _ in hits(snapshots, digest(source_id, event_id)):
        for record in events_of(snapshots, numbers.tolist(), bodies=False):
            numbered, position = record.numbered, record.position
            if numbered.source_id == source_id and numbered.event_id(position) == event_id:
                is_listed = record.status is EventStatus.DEAD and not record.left_at_ms
                event = OfId(
                    record.number, source_id, record.status, record.attempts, is_listed, bool(record.forgotten_at_ms)
                )
                replay_of = numbered.deliveries.replay_of
                yield event, replay_of[position] if replay_of else 0
