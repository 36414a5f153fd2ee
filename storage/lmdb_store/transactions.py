"""Transactions: the places of those that read in LMDB's table of readers, and going on after a failed meta page.

The table is shared by all processes. A read transaction needs a place there, and while other processes hold all of them
none begins. So a place that this process has taken is kept: one whose transaction has ended is given to the next that
begins. A store takes `PLACES_KEPT` when it is opened to write, so that a server reads whatever other processes do.

A killed reader leaves its place taken until somebody calls `reader_check`: the server does every few seconds, each
process when it opens a store, and whoever finds no place.

If the meta page of a commit cannot be written (a full disk of a file system that never writes in place), LMDB has taken
the commit back and answers everything that begins with PanicError. Then, when no transaction is open, the environment
is opened anew: it is at the commit before.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import lmdb

from storage.lmdb_store.errors import is_of_number

PLACES_KEPT = 12
"""More than a server has threads that read."""

PLACE_WAIT_SECONDS = 10.0
"""How long an opening process, which cannot call `reader_check` yet, waits for a running server to do so."""

PLACE_POLL_SECONDS = 0.1

OPEN_SECONDS_MAX = 30.0
"""How long a transaction waits for the others to end if the environment must be opened anew; they take milliseconds."""


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


class Transactions:
    """Begins and ends the transactions of an environment, on any thread.

    `open_anew` closes the environment and returns another one of the same store.
    """

    def __init__(self, env: Any, open_anew: Callable[[], Any]) -> None:
        self._env = env
        self._open_anew = open_anew
        self._failed = False
        """Whether nothing begins until it is opened anew."""
        self._renewing = False
        """Whether nothing begins until it was opened anew although it has not failed."""
        self._open = 0
        self._kept = 0
        self._ended: list[Any] = []
        """Read transactions, for their places."""
        self._changed = threading.Condition()

    def keep_places(self, count: int) -> None:
        """Take this many places, for good. Raises lmdb.Error."""
        self._kept = count
        begun = []
        try:
            begun += [self.begin_read() for _ in range(count)]
        finally:
            for txn in begun:
                self.end_read(txn)

    def begin_read(self) -> Any:
        """Return a new read transaction, whose values are buffers. Raises lmdb.Error."""
        try:
            return self._begin(self._read)
        except lmdb.ReadersFullError:
            self.check_readers()
            return self._begin(self._read)
        except lmdb.MapResizedError:  # the writer was started again with a larger map
            self._env.set_mapsize(0)
            return self._begin(self._read)

    def end_read(self, txn: Any) -> None:
        """End a read transaction; its place is kept."""
        txn.abort()
        self._end(txn)

    def begin_write(self) -> Any:
        """Return a new write transaction. Raises lmdb.Error."""
        return self._begin(lambda: self._env.begin(write=True))

    def end_write(self, txn: Any) -> None:
        """End a write transaction: abort it unless it was committed."""
        txn.abort()
        self._end()

    def renew(self) -> None:
        """Have the environment opened anew as soon as no transaction is open; what would begin waits for that.

        Raises lmdb.Error, also if one is open for too long.
        """
        until = time.monotonic() + OPEN_SECONDS_MAX
        with self._changed:
            self._renewing = True
            try:
                while self._open:
                    if not self._changed.wait(until - time.monotonic()):
                        raise lmdb.Error("a transaction does not end")
            finally:
                self._renewing = False
                self._changed.notify_all()
            self._failed = True  # unless it succeeds
            self._start_over()

    def oldest_read(self) -> int:
        """Return the number of the oldest commit that a transaction of any process may see. Raises lmdb.Error."""
        with self._changed:
            seen = [line.split()[-1] for line in self._env.readers().splitlines()[1:]]
            return min(int(each) for each in [*filter(str.isdecimal, seen), str(self._env.info()["last_txnid"])])

    def check_readers(self) -> int:
        """Free the places of readers that were killed; return how many there were. Raises lmdb.Error."""
        with self._changed:
            return int(self._env.reader_check())

    def _read(self) -> Any:
        if self._ended:
            self._ended.pop()  # once it is freed, lmdb gives its place to the next that begins
        return self._env.begin(buffers=True)

    def _begin(self, begin: Callable[[], Any]) -> Any:
        until = time.monotonic() + OPEN_SECONDS_MAX
        with self._changed:
            while True:
                try:
                    if self._renewing:
                        self._changed.wait_for(lambda: not self._renewing, max(0, until - time.monotonic()))
                    if self._failed and not self._open:
                        self._start_over()
                    txn = begin()
                except lmdb.PanicError:
                    self._failed = True
                    if self._open and not self._changed.wait(until - time.monotonic()):
                        raise
                else:
                    self._open += 1
                    return txn

    def _start_over(self) -> None:
        self._ended.clear()
        self._env = self._open_anew()
        self._failed = False
        with contextlib.suppress(lmdb.ReadersFullError):
            self.keep_places(self._kept)

    def _end(self, *place: Any) -> None:
        with self._changed:
            self._ended += place
            self._open -= 1
            self._changed.notify_all()
