"""When is the store full? From what it holds, what comes, and what retention lets go.

A rate that stays as it is: each part of the store grows by it until retention takes away as much as comes, which is
when it holds what came in the time that it is kept. So a store fills at once, later, or never.
"""

import math
from collections.abc import Sequence

from server.config.settings import Config
from storage.frozen import frozen
from storage.read.usage import Usage

DAY_SECONDS = 86400


@frozen
class Kept:
    """How long what is in the store stays. Infinite: for ever."""

    archive_seconds: float = math.inf
    archive_bytes_max: float = math.inf
    receipt_seconds: float = math.inf


FOR_EVER = Kept()


@frozen
class EventBytes:
    """Bytes of the store for an event: what leaves with its body, and what stays for its receipt."""

    archive: float
    receipt: float

    @property
    def both(self) -> float:
        return self.archive + self.receipt


TYPICAL = EventBytes(archive=330, receipt=270)
"""A single event of 1 KB, compressed about 2:1, with its digest and its index entries. In batches, a third of that."""


SAMPLE_EVENTS = 100
"""Fewer say nothing of what one takes: LMDB gives whole pages."""

FEW_BYTES = 64 * 2**10
"""Tables of a few small events take some pages each, and together never more than this."""


@frozen
class Forecast:
    """What becomes of a store at a rate."""

    events_per_second: float
    day_bytes: float
    """What comes in a day."""
    steady_bytes: float
    """What it holds once as much leaves as comes; infinite if it grows for ever."""
    full_in_seconds: float
    """Infinite if it is never full."""


@frozen
class Outlook:
    """What is to be expected of a store."""

    usage: Usage
    bytes_left: float
    """For deliveries; less than 0 if what is kept has been touched."""
    retention: bool
    """Whether anything leaves."""
    each: EventBytes | None
    """None if no event is there."""
    measured: Forecast | None
    """At the rate of lately; None if that is not known yet."""
    configured: Forecast | None
    """At the sum of the rate limits; None if a source has none, or no event is there."""


@frozen
class _Growth:
    """A part of the store that grows until it has reached its size."""

    bytes_now: float
    bytes_per_second: float
    bytes_max: float

    @property
    def seconds(self) -> float:
        """How long it grows."""
        if not self.bytes_per_second:
            return 0
        return max(0.0, self.bytes_max - self.bytes_now) / self.bytes_per_second


def outlook(config: Config, usage: Usage, bytes_left: float, *, retention: bool) -> Outlook:
    """Return what is to be expected. `retention`: whether it is in force."""
    each = event_bytes(usage)
    keeps = kept(config) if retention else FOR_EVER

    def at(rate: float | None) -> Forecast | None:
        return None if rate is None or each is None else forecast(usage, each, rate, keeps, bytes_left)

    return Outlook(usage, bytes_left, retention, each, at(measured_rate(usage)), at(configured_rate(config)))


def configured_rate(config: Config) -> float | None:
    """Return the sum of the rate limits, in events a second; None if a source does not keep to one."""
    sources = config.sources.values()
    if not sources or not all(each.keeps_to_rate for each in sources):
        return None
    return math.fsum(each.rate_limit_events_per_second for each in sources)


def kept(config: Config) -> Kept:
    """Return what the configuration keeps, where retention is in force."""
    retention = config.retention
    return Kept(
        retention.archive_hours * 3600 or math.inf,
        retention.archive_bytes_max or math.inf,
        config.receipt_hours * 3600 or math.inf,
    )


def event_bytes(usage: Usage) -> EventBytes | None:
    """Return what an event takes, by those that are there, or by a typical one where few are; None if none are."""
    if not usage.events:
        return None
    return EventBytes(
        _each(usage.archive_bytes, usage.archived, TYPICAL.archive),
        _each(usage.receipt_bytes, usage.events, TYPICAL.receipt),
    )


def _each(in_store: int, events: int, typical: float) -> float:
    """Return the bytes of one. A few large ones still count as large."""
    if events >= SAMPLE_EVENTS:
        return in_store / events
    return max(typical, (in_store - FEW_BYTES) / events) if events else typical


def measured_rate(usage: Usage) -> float | None:
    """Return the events a second that came lately; None if that is not known yet."""
    return usage.came * 1000 / usage.measured_ms if usage.measured_ms else None


def forecast(usage: Usage, each: EventBytes, events_per_second: float, keeps: Kept, bytes_left: float) -> Forecast:
    """Return what becomes of the store at this rate of events of this size. `bytes_left`: for deliveries."""
    archive, receipts = each.archive * events_per_second, each.receipt * events_per_second
    bodies = min(_most(usage.archive_bytes, archive, keeps.archive_seconds), keeps.archive_bytes_max)
    parts = (
        _Growth(usage.archive_bytes, archive, bodies),
        _Growth(usage.receipt_bytes, receipts, _most(usage.receipt_bytes, receipts, keeps.receipt_seconds)),
    )
    return Forecast(
        events_per_second,
        (archive + receipts) * DAY_SECONDS,
        sum(part.bytes_max for part in parts),
        _full_in_seconds(bytes_left, parts),
    )


def _most(bytes_now: float, bytes_per_second: float, seconds: float) -> float:
    """Return what a part holds in the end. If nothing comes: what it holds now, if that stays for ever."""
    if bytes_per_second:
        return bytes_per_second * seconds
    return bytes_now if math.isinf(seconds) else 0


def _full_in_seconds(bytes_left: float, parts: Sequence[_Growth]) -> float:
    """Return when parts that grow together have used up what is left."""
    if bytes_left <= 0:
        return 0
    passed = 0.0
    for until in sorted(part.seconds for part in parts):
        speed = sum(part.bytes_per_second for part in parts if part.seconds > passed)
        if speed and passed + bytes_left / speed <= until:
            return passed + bytes_left / speed
        if until < math.inf:
            bytes_left -= speed * (until - passed)
            passed = until
    return math.inf
