"""Ends a server whose descriptors something else in the process has closed, a processor perhaps.

The system forgets a closed descriptor without a word: a server would listen no more, or never hear that a thread has
finished, and go on like that for ever. Or its lock would be gone, and a second server could start beside it. What is on
disk is right at any moment, so the process ends, as in a crash, and whoever supervises it starts it again.

What the store is written through is not looked at here, but with each write: `storage/lmdb_store/held.py`.
"""

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from server.base import log
from server.base.worker import start_thread

WATCH_SECONDS = 1.0
"""Soon enough for a supervisor, and a few microseconds each time."""

CLOSED = "a descriptor of the server was closed by something in its process, such as a processor: it ends"


def open_now() -> frozenset[int]:
    """Return the numbers that this process has open; none where nothing lists them."""
    try:
        return frozenset(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    except OSError:
        return frozenset()


def made_since(before: Collection[int]) -> list[int]:
    """Return those that are open now and were not then; none if it is not known what was open then."""
    return [number for number in open_now() - frozenset(before) if before and _identity(number) is not None]


@contextmanager
def watched(numbers: Iterable[int], is_ending: Callable[[], bool], end: Callable[[], None]) -> Iterator[None]:
    """Within the block, call `end` in a thread if one of these is no longer what it is now, or if threads cannot wake
    the loop, unless the server `is_ending` by itself. Made inside `trio.run`. Raises NoThread.
    """
    token = trio.lowlevel.current_trio_token()
    identities = {number: _identity(number) for number in numbers}
    is_over = False

    def is_whole() -> bool:
        if any(_identity(number) != identity for number, identity in identities.items()):
            return False
        try:
            token.run_sync_soon(_nothing, idempotent=True)
        except OSError:
            return False
        return True

    def watch() -> None:
        lost = 0
        while lost < 2:  # what is being closed at the end is closed once
            time.sleep(WATCH_SECONDS)
            if is_over or is_ending():
                return
            lost = 0 if is_whole() else lost + 1
        log.get("tidegate").error(CLOSED)
        end()

    start_thread(watch, "descriptors")
    try:
        yield
    finally:
        is_over = True


def _nothing() -> None:
    """Wakes the loop."""


def _identity(number: int) -> tuple[int, int, int] | None:
    """Return what tells the file behind this descriptor from others, whoever may read it now; None if it is closed."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino, stat.S_IFMT(found.st_mode)
