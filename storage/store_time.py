"""The store's own time, for what expires to go by, and not by a wall clock that somebody may set.

It is written with every group and only rises. While one boot of the host lasts it goes on with CLOCK_BOOTTIME, over
restarts too. Over a reboot it goes on by what the wall clock has moved since the newest record, if that is 0 to 24
hours, else not at all: time that is withheld makes what expires stay longer, never shorter. `StoreClock.trust` adds
what was withheld.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from storage.frozen import frozen

BOOT_ID_BYTES = 16
UNKNOWN_BOOT = bytes(BOOT_ID_BYTES)
REBOOT_MS_MAX = 24 * 3600 * 1000
"""The longest that a reboot is believed to have taken."""
MINUTE_MS = 60_000


@frozen
class HostTime:
    """What the clocks of the host say at one moment."""

    wall_ms: int
    """Since the epoch; 0 if before it."""
    boot_ms: int
    """Since the boot, time asleep included."""
    boot_id: bytes
    """Which boot: UNKNOWN_BOOT if the host does not tell."""


@frozen
class StoreTime:
    """The store's time as it was written last, and what the host's clocks said then."""

    store_ms: int
    host: HostTime
    withheld_from: int | None = None
    """The wall clock less the store's time when time was last believed, in ms; None if none has been withheld since."""

    @property
    def withheld_ms(self) -> int:
        """What the wall clock says beyond the store's time; 0 if no time is withheld, or if it lies behind."""
        return 0 if self.withheld_from is None else max(0, self.host.wall_ms - self.withheld_from - self.store_ms)


def read_boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> bytes:
    """Return the id of this boot of the host, or UNKNOWN_BOOT."""
    try:
        found = bytes.fromhex(path.read_text("ascii").strip().replace("-", ""))
    except (OSError, ValueError):
        return UNKNOWN_BOOT
    return found if len(found) == BOOT_ID_BYTES else UNKNOWN_BOOT


def host_time(boot_id: bytes) -> HostTime:
    """Return what the clocks say now."""
    boot_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return HostTime(max(0, time.time_ns() // 1_000_000), boot_ms, boot_id)


def store_time(newest: StoreTime | None, host: HostTime) -> StoreTime:
    """Return the store's time when a process opens the store. `newest`: as it was written last; None: never."""
    if newest is None:
        return StoreTime(host.wall_ms, host)
    before, withheld_from = newest.host, newest.withheld_from
    if _same_boot(before, host):
        passed = host.boot_ms - before.boot_ms
    else:
        passed = host.wall_ms - before.wall_ms
        if not 0 <= passed <= REBOOT_MS_MAX:
            passed = 0
            withheld_from = before.wall_ms - newest.store_ms if withheld_from is None else withheld_from
    return StoreTime(newest.store_ms + max(0, passed), host, withheld_from)


def to_the_minute(store_ms: int) -> int:
    """Return the begin of this minute: how exactly the receipt of events is kept, so that neighbours are alike."""
    return store_ms - store_ms % MINUTE_MS


def _same_boot(one: HostTime, other: HostTime) -> bool:
    return one.boot_id == other.boot_id != UNKNOWN_BOOT


class StoreClock:
    """The store's time while one process has the store open: it goes on by the boot clock alone. For any thread."""

    def __init__(self, newest: StoreTime | None, host: Callable[[], HostTime] | None = None) -> None:
        """`newest`: the newest record of the store. `host`: reads the clocks of the host; given by tests."""
        self._host = host or partial(host_time, read_boot_id())
        self._opened = store_time(newest, self._host())
        before = self._opened.host if newest is None else newest.host
        self.rebooted = newest is not None and not _same_boot(before, self._opened.host)
        """The newest record is from another boot: what came of that is to be written before more time passes."""
        self._seen = self._opened.host if self.rebooted else before

    def now(self) -> StoreTime:
        """Return the store's time now."""
        opened, host = self._opened, self._host()
        passed = max(0, host.boot_ms - opened.host.boot_ms)
        return StoreTime(opened.store_ms + passed, host, opened.withheld_from)

    def now_ms(self) -> int:
        """Return the same in milliseconds alone."""
        return self.now().store_ms

    @property
    def withholds(self) -> bool:
        """Time is withheld: over a reboot the wall clock said what is not believed."""
        return self._opened.withheld_from is not None

    @property
    def stepped_ms(self) -> int:
        """How far the wall clock was set since the newest record before the start, or since the start or `trust`."""
        host = self._host()
        return (host.wall_ms - self._seen.wall_ms) - (host.boot_ms - self._seen.boot_ms)

    def trust(self) -> int:
        """Believe the wall clock as it stands; return by how many ms the store's time went on. Nothing is written."""
        now = self.now()
        self._opened = StoreTime(now.store_ms + now.withheld_ms, now.host)
        self._seen = now.host
        return now.withheld_ms
