"""What `tidegate check` says of the store: what leaves it, what stays free, and when it is full."""

import math
from collections.abc import Iterator
from contextlib import closing

from server.base.clock import wall_ms
from server.config.capacity import Machine, size
from server.config.forecast import DAY_SECONDS, TYPICAL, Forecast, Outlook, forecast, kept, outlook
from server.config.load import Config
from server.config.retention import policy_of
from server.observe.outlook import full_at
from storage.errors import StoreError, StoreMissing
from storage.lmdb_store.environment import Store
from storage.lmdb_store.reserve import reserve_bytes
from storage.lmdb_store.room import Room, guard_bytes
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from storage.read.usage import EMPTY
from storage.retain.foresee import Foreseen, foresee
from storage.store_time import StoreClock


def describe_store(config: Config, machine: Machine) -> Iterator[str]:
    """Yield the lines. Opens the store for reading, if there is one."""
    leaving, outlook_lines = _look(config)
    yield from _retention(config) if leaving is None else _without_retention(config, leaving)
    kept_bytes = guard_bytes(config.storage.free_bytes_min, machine.disk_total_bytes)
    chosen = "storage.free_bytes_min" if config.storage.free_bytes_min else "5 % of its file system, at most 1 GiB"
    free = "does not say what it has" if math.isinf(machine.disk_free_bytes) else f"has {size(machine.disk_free_bytes)}"
    yield f"its disk {free} for it; below {size(kept_bytes)} ({chosen}) deliveries are refused"
    yield from outlook_lines


def describe_empty_store(config: Config, machine: Machine, events_per_second: float) -> str:
    """Return what becomes of a new store at this rate, with events of 1 KB."""
    storage = config.storage
    on_disk = machine.disk_free_bytes - guard_bytes(storage.free_bytes_min, machine.disk_total_bytes)
    left = min(on_disk, storage.map_size_bytes - reserve_bytes(storage.map_size_bytes))
    return _forecast(forecast(EMPTY, TYPICAL, events_per_second, kept(config), left))


def _look(config: Config) -> tuple[Foreseen | None, list[str]]:
    """Return what would leave now if retention were in force, if it is not; and what is to be expected, in words."""
    try:
        with closing(Store.open(config.storage.path, mode="read")) as store:
            in_force = config.retention_is_configured or store.has_defaults
            leaving = None if in_force else _foresee(config, store)
            return leaving, list(_outlook(_expected(config, store, in_force)))
    except StoreMissing:
        return None, ["there is no store yet"]
    except StoreError as error:
        return None, [f"when it is full is not known: {error}"]


def _expected(config: Config, store: Store, in_force: bool) -> Outlook:
    room = Room(store, config.storage.free_bytes_min, map_size_bytes=config.storage.map_size_bytes)
    return outlook(config, Reader(store).usage(wall_ms()), room.bytes_left, retention=in_force)


def _foresee(config: Config, store: Store) -> Foreseen:
    with Snapshots(store).take() as snapshot:
        clock = StoreClock(snapshot.store_time())
    return foresee(store, policy_of(config.retention, config.dedup), clock.now_ms())


def _retention(config: Config) -> Iterator[str]:
    retention = config.retention
    bound = f", at most {size(retention.archive_bytes_max)} of them" if retention.archive_bytes_max else ""
    yield f"events and deliveries stay {_hours(retention.archive_hours)}{bound}"
    lifted = ""
    if config.receipt_hours != retention.receipt_hours:
        by_bodies = config.receipt_hours in (0, retention.archive_hours)
        needed = "as archive_hours needs" if by_bodies else "an hour more than dedup.window_hours"
        lifted = f", {needed}; receipt_hours is {retention.receipt_hours:g}"
    yield f"ids, outcomes and receipts stay {_hours(config.receipt_hours)}{lifted}"
    yield f"dead events stay {_hours(retention.dead_hours)}"


def _without_retention(config: Config, leaving: Foreseen) -> Iterator[str]:
    yield "nothing leaves: it is from before there was retention, and [retention] is not in the configuration"
    yield "with an empty [retention], which takes the defaults:"
    yield from (f"  {line}" for line in _retention(config))
    yield f"  leaving at once: {_leaving(leaving)}"


def _leaving(found: Foreseen) -> str:
    return f"the bodies of {found.bodies:,} events ({size(found.body_bytes)}), and {found.receipts:,} receipts"


def _hours(hours: float) -> str:
    return f"{hours:g} h" if hours else "for ever"


def _outlook(found: Outlook) -> Iterator[str]:
    if found.each is None:
        yield "it holds no events yet"
        return
    usage = found.usage
    bodies, rest, left = size(usage.archive_bytes), size(usage.receipt_bytes), size(max(0, found.bytes_left))
    yield f"it holds {usage.events:,} events: {bodies} of bodies, {rest} of receipts; {left} are left for more"
    yield f"a new event counts as {found.each.both:.0f} bytes"
    if found.measured is None:
        yield "how fast it grows is not known yet: too little time since its first event"
    else:
        yield f"measured over {_time(usage.measured_ms / 1000)}: {_forecast(found.measured)}"
    if found.configured is not None:
        yield f"at the sum of the rate limits: {_forecast(found.configured)}"


def _forecast(found: Forecast) -> str:
    rate = f"{_count(found.events_per_second)} events/s, {size(found.day_bytes)} a day"
    if math.isinf(found.full_in_seconds):
        most = "" if math.isinf(found.steady_bytes) else f" at about {size(found.steady_bytes)}"
        return f"{rate}; never full, it stays{most}" if most else f"{rate}; never full"
    date = full_at(found, wall_ms())
    return f"{rate}; full in {_time(found.full_in_seconds)}" + (f", at {date[:16]}Z" if date else "")


def _time(seconds: float) -> str:
    if seconds >= 2 * DAY_SECONDS:
        return f"{_count(seconds / DAY_SECONDS)} days"
    return f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _count(number: float) -> str:
    """Return a number for people, with three digits at least, and never as a power of ten."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
