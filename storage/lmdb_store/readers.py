"""Read transactions, and the places that they take in LMDB's table of readers, which all processes share.

A read transaction needs a place there, and while other processes hold all of them none begins. So a place that this
process has taken is kept: one whose transaction has ended is given to the next that begins. A store takes
`PLACES_KEPT` when it is opened to write, so that a server reads whatever other processes do.

A killed reader leaves its place taken until somebody calls `reader_check`: the server does every few seconds, each
process when it opens a store, and whoever finds no place.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import lmdb

from storage.lmdb_store.errors import is_of_number

PLACES_KEPT = 8
"""More than a server has threads that read."""

PLACE_WAIT_SECONDS = 10.0
"""How long an opening process, which cannot call `reader_check` yet, waits for a running server to do so."""

PLACE_POLL_SECONDS = 0.1


def when_there_is_a_place(open_environment: Callable[[], Any], *, writes: bool) -> Any:
    """Return what it returns, which takes a place; wait for one while there is none.

    A writer waits for its process number too; who reads may do so under another. Raises lmdb.Error.
    """
    until = time.monotonic() + PLACE_WAIT_SECONDS
    while True:
        try:
            return open_environment()
        except lmdb.Error as error:
            waits = isinstance(error, lmdb.ReadersFullError) or (writes and is_of_number(error))
            if not waits or time.monotonic() >= until:
                raise
            time.sleep(PLACE_POLL_SECONDS)


class ReadTransactions:
    """Begins and ends the read transactions of an environment, on any thread."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._ended: list[Any] = []
        self._lock = threading.Lock()

    def keep(self, count: int) -> None:
        """Take this many places, for good. Raises lmdb.Error."""
        begun = []
        try:
            begun += [self.begin() for _ in range(count)]
        finally:
            for txn in begun:
                self.end(txn)

    def begin(self) -> Any:
        """Return a new transaction, whose values are buffers. Raises lmdb.Error."""
        try:
            return self._begin()
        except lmdb.ReadersFullError:
            self._env.reader_check()
            return self._begin()
        except lmdb.MapResizedError:  # the writer was started again with a larger map
            self._env.set_mapsize(0)
            return self._begin()

    def end(self, txn: Any) -> None:
        """End a transaction; its place is kept."""
        txn.abort()
        self._ended.append(txn)

    def _begin(self) -> Any:
        with self._lock:
            with contextlib.suppress(IndexError):
                self._ended.pop()  # once it is freed, lmdb gives its place to the next that begins
            return self._env.begin(buffers=True)
