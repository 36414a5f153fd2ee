"""When the store will be full, as `/sources` and the metrics show it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from server.base.clock import WALL_MS_MAX, Clock
from server.base.source import Source
from server.config.forecast import DAY_SECONDS, Forecast, Outlook, outlook
from server.config.settings import Config
from server.intake.events import rfc3339
from storage.errors import StoreError
from storage.lmdb_store.room import Room
from storage.read.reader import Reader

WEEK_SECONDS = 7 * DAY_SECONDS
"""With less left readiness warns: so long as it may take until somebody has ordered a disk."""


class Capacity:
    """Finds out what is to be expected of the store of a running server."""

    def __init__(
        self,
        config: Config,
        sources: Callable[[], Mapping[str, Source]],
        reader: Reader,
        room: Room,
        clock: Clock,
        *,
        retention: bool,
    ) -> None:
        """`config`: that of the start; `sources`: returns those of now; `retention`: whether it is in force."""
        self._config = config
        self._sources = sources
        self._reader = reader
        self._room = room
        self._clock = clock
        self._retention = retention
        self.full_at_seconds: float | None = None
        """When the store is full at the measured rate, since the epoch, as `look_ahead` found last: infinite if never,
        None if that is not known yet."""

    def outlook(self) -> Outlook:
        """Return it as of now. Reads the store, so call it in the thread of the reader. Raises StoreError."""
        usage = self._reader.usage(self._clock.now_ms())
        config = replace(self._config, sources=self._sources())
        return outlook(config, usage, self._room.bytes_left, retention=self._retention)

    def look_ahead(self) -> None:
        """Find out when the store is full. For the reader's thread."""
        try:
            found = self.outlook().measured
        except StoreError:
            return  # others say so; what was found before holds for days
        self.full_at_seconds = None if found is None else self._clock.now_ms() / 1000 + found.full_in_seconds

    def warning(self) -> str:
        """Return what to say of a store with less than WEEK_SECONDS left, as `look_ahead` found last; "" of any other.
        For any thread."""
        at_seconds, now_seconds = self.full_at_seconds, self._clock.now_ms() / 1000
        if at_seconds is None or at_seconds - now_seconds >= WEEK_SECONDS:
            return ""
        days = max(0.0, at_seconds - now_seconds) / DAY_SECONDS
        return f"at the rate of the last day the store is full in {days:.1f} days: {rfc3339(int(at_seconds * 1000))}"

    def describe(self) -> dict[str, object]:
        """Return it as JSON-able values: `error` alone if the store cannot be read. For the reader's thread."""
        try:
            found, now_ms = self.outlook(), self._clock.now_ms()
        except StoreError as error:
            return {"error": str(error)}
        measured = found.measured and {
            "over_seconds": found.usage.measured_ms // 1000,
            **_describe(found.measured, now_ms),
        }
        return {
            "bytes_left": int(found.bytes_left),
            "retention": found.retention,
            "bytes_per_event": found.each and round(found.each.both, 1),
            "measured": measured,
            "configured": found.configured and _describe(found.configured, now_ms),
        }


def _describe(found: Forecast, now_ms: int) -> dict[str, object]:
    return {
        "events_per_second": float(f"{found.events_per_second:.4g}"),
        "bytes_per_day": round(found.day_bytes),
        "steady_bytes": round(found.steady_bytes) if math.isfinite(found.steady_bytes) else None,
        "days_left": round(found.full_in_seconds / DAY_SECONDS, 2) if math.isfinite(found.full_in_seconds) else None,
        "full_at": full_at(found, now_ms),
    }


def full_at(found: Forecast, now_ms: int) -> str | None:
    """Return the time at which the store is full, RFC 3339; None if it never is, or after the year 9999."""
    at_ms = now_ms + found.full_in_seconds * 1000
    return rfc3339(int(at_ms)) if at_ms <= WALL_MS_MAX else None
