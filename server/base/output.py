"""The stdout and stderr of a server, each written by a thread of its own: to say something can harm nothing.

Guarantees: nothing here blocks its caller or raises, whether the other end is a full disk, a terminal that was closed,
or a pipe that nobody reads; what waits is bounded; lines keep their order and stay whole, whichever threads print them.
What finds no room or no reader is counted, and the next lines that get through are preceded by one that says how many
were lost. The descriptors keep their flags, since other processes share them (O_NONBLOCK would be theirs too). They are
duplicated, so that a processor that closes 1 or 2 does not send the log into the file or connection opened next.

Back-pressure was rejected: a log that nobody reads would stop the server. Asking `poll` whether a write may block was
rejected too: it promises PIPE_BUF bytes of a pipe, nothing of a terminal, and other processes write to both.
"""

import fcntl
import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

WAITING_BYTES_MAX = 2**20
"""What may wait for the thread, and as much again be in its hands: thousands of lines, so that a burst loses none."""

FIRST_FREE_FILE = 3
"""The lowest descriptor after stdin, stdout and stderr."""

Notice = Callable[[int, bool], str]
"""Returns the line that says how many lines were lost, without its end; told whether it is for a terminal."""


class Output:
    """One descriptor and the thread that writes to it. Safe in signal handlers and finalizers, which may interrupt
    it anywhere."""

    def __init__(self, file: int, name: str, notice: Notice) -> None:
        self._given = file
        self._file = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FILE)
        self._name = name
        self._notice = notice
        self.is_terminal = os.isatty(self._file)
        self.dropped = 0
        """Lines that were lost."""
        self._told = 0
        self._ends_line = True
        """Whether what was written last ended its line."""
        self._is_child = False
        self._unfinished_by: object = None
        """Who began a line and has not ended it."""
        self._reset()

    @property
    def descriptor(self) -> int:
        """What it writes to."""
        return self._file

    def take_thread(self) -> None:
        """Start the thread now, before a limit of threads, or a processor's module that patches `threading`, is in the
        way. Raises OSError."""
        with self._lock:
            if not self._has_thread():
                raise OSError(f"no thread can be had for {self._name}: a limit of threads or of memory")

    def put(self, data: bytes, writer: object = None) -> None:
        """Have these bytes written, or count them as lost. A line that another writer has begun is ended first."""
        with self._lock:
            if self._unfinished_by not in (None, writer):
                data = b"\n" + data
            if self._accept(data):
                self._unfinished_by = None if data.endswith(b"\n") else writer
            else:
                self._lose(data)

    def flush(self, seconds: float) -> None:
        """Return when all that was put has been written or lost; at the latest after this time."""
        if self._is_started:
            reached = threading.Event()
            self._calls.put(reached)
            reached.wait(seconds)

    def continue_in_child(self) -> None:
        """Write at once and by whoever writes from now on: a forked process has none of the threads.

        It may block there: nobody's loop runs in it. What waits is the parent's to write. The duplicate is let go of,
        so that a child that outlives the server, its own outputs led elsewhere, keeps no reader waiting for the end.
        """
        if not self._is_child:
            os.close(self._file)
            self._file = self._given
        self._is_child = True
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._calls: SimpleQueue[threading.Event | None] = SimpleQueue()
        self._waiting = bytearray()
        self._is_started = False

    def _accept(self, data: bytes) -> bool:
        if self._is_child:
            return self._is_written(data)
        if len(self._waiting) + len(data) > WAITING_BYTES_MAX or not self._has_thread():
            return False
        if not self._waiting:
            self._calls.put(None)
        self._waiting += data
        return True

    def _has_thread(self) -> bool:
        if not self._is_started:
            with suppress(RuntimeError):  # the host allows no more threads; asked again with the next line
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
                self._is_started = True
        return self._is_started

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})  # should a processor have made it deadly again
        while True:
            reached = self._calls.get()
            self._write_waiting()
            if reached is not None:
                reached.set()

    def _write_waiting(self) -> None:
        """Write in pieces of whole lines where they fit: one such write to a pipe is never mixed with another's."""
        with self._lock:
            lines, self._waiting = self._waiting, bytearray()
        at = 0
        while at < len(lines):
            end = lines.rfind(b"\n", at, at + select.PIPE_BUF) + 1 or at + select.PIPE_BUF
            if not (self._tell_of_lost() and self._is_written(lines[at:end])):
                self._lose(lines[at:end])
            at = end

    def _tell_of_lost(self) -> bool:
        """Say how many lines were lost since this was said; return whether it could be said."""
        lost = self.dropped - self._told
        if lost == 0:
            return True
        line = self._notice(lost, self.is_terminal).encode() + b"\n"
        if not self._is_written(line if self._ends_line else b"\n" + line):
            return False
        self._told += lost
        return True

    def _is_written(self, data: bytes | bytearray) -> bool:
        try:
            self._write(data)
        except OSError:
            return False
        return True

    def _write(self, data: bytes | bytearray) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._file, left) :]
            except BlockingIOError:  # somebody made it so
                self._wait_for_room()
        self._ends_line = data.endswith(b"\n")

    def _wait_for_room(self) -> None:
        room = select.poll()
        room.register(self._file, select.POLLOUT)
        room.poll()

    def _lose(self, data: bytes | bytearray) -> None:
        with self._lock:
            self.dropped += data.count(b"\n") or 1
