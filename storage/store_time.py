"""The store's own time, for what expires to go by, and not by a wall clock that somebody may set. Nothing does yet.

It is written with every outcome and only rises. While one boot of the host lasts it goes on with CLOCK_BOOTTIME, over
restarts too. Over a reboot it goes on by what the wall clock has moved since the newest record, if that is 0 to 24
hours, else not at all: time that is withheld makes what expires stay longer, never shorter.
"""

import time
from pathlib import Path

from storage.frozen import frozen

BOOT_ID_BYTES = 16
UNKNOWN_BOOT = bytes(BOOT_ID_BYTES)
REBOOT_MS_MAX = 24 * 3600 * 1000
"""The longest that a reboot is believed to have taken."""


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
    """Return the store's time now. `newest`: as it was written last; None: this is the first."""
    if newest is None:
        return StoreTime(host.wall_ms, host)
    before = newest.host
    if host.boot_id == before.boot_id != UNKNOWN_BOOT:
        passed = host.boot_ms - before.boot_ms
    else:
        passed = host.wall_ms - before.wall_ms
        passed = passed if passed <= REBOOT_MS_MAX else 0
    return StoreTime(newest.store_ms + max(0, passed), host)
