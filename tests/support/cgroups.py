"""Control groups with a limit, for one child: of version 1 or 2 of the kernel's. Takes root."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.file_systems import NotHere

MOUNTED = Path("/sys/fs/cgroup")
LIMITS = {"memory": ("memory.limit_in_bytes", "memory.max"), "pids": ("pids.max",)}
"""By controller: the names of the file that has its limit."""


@dataclass(frozen=True, slots=True)
class Group:
    """A control group."""

    path: Path
    limit_file: Path

    def limit(self, value: int | str) -> None:
        """Set it; "max" for none, where the controller has that word."""
        self.limit_file.write_text(str(value))

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the words that run a command in it."""
        return ["sh", "-c", f"echo $$ > '{self.path}/cgroup.procs' && exec \"$@\"", "sh", *command]


@contextmanager
def group(controller: str, limit: int) -> Iterator[Group]:
    """Make a group, empty at the end of the block, with this limit of this controller. Raises NotHere."""
    above = next((each for each in (MOUNTED / controller, MOUNTED) if (each / "cgroup.procs").exists()), None)
    path = (above or MOUNTED) / f"tidegate-torture-{os.getpid()}-{time.monotonic_ns()}"
    try:
        path.mkdir()
    except OSError as error:
        raise NotHere(f"takes root and control groups: {error.strerror}") from error
    try:
        there = [path / name for name in LIMITS[controller] if (path / name).exists()]
        if not there:
            raise NotHere(f"takes control groups with a limit of {controller}")
        made = Group(path, there[0])
        made.limit(limit)
        yield made
    finally:
        with suppress(OSError):
            path.rmdir()
