"""The clocks of a host, as a file says: for servers under test, and for commands in this process."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from storage import store_time

HOUR_MS = 3_600_000
WALL_MS = 1_750_000_000_000


class Clocks:
    """What the clocks say until they are set again. The monotonic clock is the real one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall_ms = WALL_MS
        self.boot_ms = HOUR_MS
        self.boot = 1
        self._write()

    def pass_hours(self, hours: float, *, wall_hours: float | None = None) -> None:
        """Time goes on; the wall clock by another amount, if one is given."""
        self.boot_ms += int(hours * HOUR_MS)
        self.wall_ms += int((hours if wall_hours is None else wall_hours) * HOUR_MS)
        self._write()

    def reboot(self, *, wall_hours: float) -> None:
        """The host starts again, and its wall clock says that this took so long."""
        self.boot += 1
        self.boot_ms = 5000
        self.wall_ms += int(wall_hours * HOUR_MS)
        self._write()

    def set_wall(self, wall_ms: int) -> None:
        self.wall_ms = wall_ms
        self._write()

    def _write(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps([self.wall_ms, self.boot_ms, self.boot]))
        new.replace(self.path)


@contextmanager
def faked(path: Path) -> Iterator[None]:
    """Let this process read the file for the clocks of its host."""
    real = time.clock_gettime_ns

    def said(place: int) -> int:
        return int(json.loads(path.read_text())[place])

    def time_ns() -> int:
        return said(0) * 1_000_000

    def seconds() -> float:
        return said(0) / 1000

    def clock_gettime_ns(clock: int) -> int:
        return said(1) * 1_000_000 if clock == time.CLOCK_BOOTTIME else real(clock)

    def read_boot_id() -> bytes:
        return said(2).to_bytes(store_time.BOOT_ID_BYTES, "big")

    with (
        mock.patch.object(time, "time_ns", time_ns),
        mock.patch.object(time, "time", seconds),
        mock.patch.object(time, "clock_gettime_ns", clock_gettime_ns),
        mock.patch.object(store_time, "read_boot_id", read_boot_id),
    ):
        yield
