"""What may become of an event: its statuses, which of them follow which, and what each change moves in the totals.

This is the one list of statuses. To add one, add it to `EventStatus` with its row in `RULES`, and the counter that the
row names to `Totals`, right before `oldest`: the writer, `verify`, metrics, `/sources` and receipts read these, and a
store that does not have the counter yet has 0 (an older version takes the new one for damage). An event gets its first
status from `server/intake/intake.py`, later ones from `OutcomeWriter` in `server/flow/`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias


class EventStatus(IntEnum):
    """What has become of an event so far. The numbers stand in the store: none of them may change its meaning."""

    PENDING = 0
    DEFERRED = 1
    PROCESSED = 2
    DUPLICATE = 3
    DROPPED = 4
    DEAD = 5
    DISCARDED = 6
    """Dead, and nobody wants it."""

    @property
    def label(self) -> str:
        """Its name in receipts and metrics."""
        return self.name.lower()


class Rule(NamedTuple):
    """A row of the table. Counters are named by their field of `Totals`."""

    follows: tuple[EventStatus | None, ...]
    """The statuses that an event may have before; None: it may begin with this one."""
    counted: str = ""
    """The counter of all events that got this status."""
    held: tuple[str, ...] = ()
    """The counters of the events that have it now."""
    reopened: str = ""
    """The counter of all events that had it and are pending again."""
    part_of: EventStatus | None = None
    """The outcome of the events that have it, as which they are shown, and among whose they are counted."""


_WAITING = (EventStatus.PENDING, EventStatus.DEFERRED)

RULES = {
    EventStatus.PENDING: Rule((None, *_WAITING, EventStatus.DEAD), held=("pending",)),
    EventStatus.DEFERRED: Rule((None, EventStatus.DEFERRED), "deferred", held=("pending", "deferred_now")),
    EventStatus.PROCESSED: Rule(_WAITING, "processed"),
    EventStatus.DUPLICATE: Rule(_WAITING, "duplicate"),
    EventStatus.DROPPED: Rule((None, *_WAITING), "dropped"),
    EventStatus.DEAD: Rule(_WAITING, "dead", held=("dead_now",), reopened="requeued"),
    EventStatus.DISCARDED: Rule((EventStatus.DEAD,), "discarded", part_of=EventStatus.DEAD),
}
"""A status may follow itself: that records an attempt, and moves no counter."""

PENDING_STATUSES = tuple(status for status, rule in RULES.items() if "pending" in rule.held)
ENDED = tuple(status for status in RULES if status not in PENDING_STATUSES)
"""The statuses of events that have an outcome."""
OUTCOMES = tuple(status for status in ENDED if RULES[status].part_of is None)
"""Those that end an event."""

EXPIRED_OF = {status: f"expired_{RULES[status].counted}" for status in ENDED}
"""By status: the counter of the events that had it when their receipts left the store."""


def _gone(status: EventStatus) -> tuple[str, ...]:
    parts = (rule.counted for rule in RULES.values() if rule.part_of is status)
    return tuple(name for name in (RULES[status].reopened, *parts) if name)


GONE_OF = {status: _gone(status) for status in ENDED}
"""By status: the counters of the events that had it and have another one since."""


def outcome_of(status: EventStatus) -> EventStatus:
    """Return the outcome as which an event of this status is shown; the status itself if it has none."""
    found = RULES[status].part_of
    return status if found is None else found


def _exported(words: str) -> Any:
    """Declare a counter with a metric of its own; the words say what it counts."""
    return field(default=0, metadata={"words": words})


@dataclass(frozen=True, slots=True)
class Totals:
    """The counts of one source. An event that is requeued and dies again counts twice among the dead."""

    received: int = _exported("Events taken")
    requeued: int = _exported("Dead events given back")
    deferred: int = _exported("Events held by a rate limit")
    processed: int = 0
    duplicate: int = 0
    dropped: int = 0
    dead: int = 0
    pending: int = 0
    deferred_now: int = 0
    """Of the pending ones, those whose stored status is DEFERRED."""
    expired: int = _exported("Events whose bodies have left the store by retention")
    expired_processed: int = 0
    """Of the processed events, those whose receipts have left too; and so on."""
    expired_duplicate: int = 0
    expired_dropped: int = 0
    expired_dead: int = 0
    replayed: int = _exported("Archived events given to a processor anew")
    discarded: int = _exported("Dead events that nobody wants")
    expired_discarded: int = 0
    dead_now: int = 0
    """The dead events that are listed: neither given back nor discarded, and their bodies have not left."""
    oldest: int = 0
    """No event before this number is pending."""

    @property
    def receipts_left(self) -> int:
        """How many events have left altogether."""
        return sum(getattr(self, name) for name in EXPIRED_OF.values())

    @property
    def balanced(self) -> bool:
        """Whether the accounting identity holds: what came is pending or has an outcome."""
        came: int = sum(_came(self))
        there: int = sum(_is_there(self))
        return came == there


def with_dead_now(totals: Totals) -> Totals:
    """Return totals that were kept without `dead_now`, with it."""
    return replace(totals, dead_now=totals.dead - totals.requeued - totals.expired_dead)


COUNTERS = Totals.__slots__[:-1]
"""All fields of `Totals` but `oldest`, which is not a count. The store has them in this order."""

GAUGES = tuple(name for name in COUNTERS if any(name in rule.held for rule in RULES.values()))
"""The counters of what is so now; all others only grow."""

EXPORTED = {each.name: each.metadata["words"] for each in fields(Totals) if each.metadata}
"""Counters with a metric of their own, and what they count. Those of outcomes are one metric, with a label."""

REOPENED = tuple(rule.reopened for rule in RULES.values() if rule.reopened)

NEW = ("received", "replayed")
"""The counters of new events: those that came, and those that are others once more."""

_came = attrgetter(*NEW, *REOPENED)
_is_there = attrgetter("pending", *(RULES[outcome].counted for outcome in OUTCOMES))

_growing = attrgetter(*(name for name in COUNTERS if name not in GAUGES))


def grown(totals: Iterable[Totals]) -> int:
    """Return the sum of all their counters that only grow."""
    return sum(sum(_growing(each)) for each in totals)


Moves: TypeAlias = tuple[tuple[int, int], ...]
"""Which counters a change moves, by their place in COUNTERS, and by how much an event."""


def _moves(before: EventStatus | None, after: EventStatus, new: str = "") -> Moves:
    if before is after or before not in RULES[after].follows:
        return ()
    had = Rule(()) if before is None else RULES[before]
    steps = Counter([*RULES[after].held, RULES[after].counted, new])
    if after in PENDING_STATUSES:
        steps[had.reopened] += 1
    steps.subtract(had.held)
    return tuple((COUNTERS.index(name), step) for name, step in steps.items() if name and step)


NEW_MOVES, REPLAY_MOVES = (tuple(_moves(None, after, name) for after in EventStatus) for name in NEW)
"""By status: what a new event of this status moves, and one that is replayed."""

MOVES = tuple(tuple(_moves(before, after) for before in EventStatus) for after in EventStatus)
"""By the new status, then by the one before."""

CANNOT_FOLLOW = tuple(
    tuple(before for before in EventStatus if before not in RULES[after].follows) for after in EventStatus
)
"""By the new status: those that an event may not have before."""


def held(counter: str, events: Sequence[int]) -> int:
    """Return the value of one of the GAUGES, from how many events have each status."""
    return sum(events[status] for status, rule in RULES.items() if counter in rule.held)
