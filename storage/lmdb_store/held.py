"""Whether a file that is written through descriptors is still the one that was opened.

A processor that closes descriptors that are not its own leaves their numbers to whatever is opened next: what is
written then goes into a stranger's file, without an error. And a file that somebody removed is gone when the process
ends. So it is looked at before anything that was written into it is acknowledged.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class HeldFile:
    """A file that this process has opened, and descriptors that lead to it."""

    def __init__(self, path: Path, numbers: Iterable[int]) -> None:
        """Raises OSError if there is none of this name."""
        self._name = path.name
        found = path.stat()
        self._identity = found.st_dev, found.st_ino
        self._counts_names = found.st_nlink > 0
        """Some file systems in user space say 0 of every file."""
        self._numbers = tuple(numbers)

    @classmethod
    def found(cls, path: Path) -> "HeldFile":
        """Find every descriptor that leads to it, whoever opened it; none if the system does not list them."""
        held = cls(path, ())
        with suppress(OSError):
            numbers = [int(each.name) for each in Path("/proc/self/fd").iterdir()]
            held._numbers = tuple(number for number in numbers if held._is_open_at(number))
        return held

    def check(self) -> None:
        """Raise OSError if a descriptor leads elsewhere, or the file has lost its last name."""
        for number in self._numbers:
            found = _looked_at(number)
            if found is None or (found.st_dev, found.st_ino) != self._identity:
                raise OSError(f"descriptor {number} of {self._name} was closed by something in this process")
            if self._counts_names and not found.st_nlink:
                raise OSError(f"{self._name} was removed while it was in use")

    def _is_open_at(self, number: int) -> bool:
        found = _looked_at(number)
        return found is not None and (found.st_dev, found.st_ino) == self._identity


def _looked_at(number: int) -> os.stat_result | None:
    try:
        return os.fstat(number)
    except OSError:
        return None
