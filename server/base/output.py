"""The stdout and stderr of a server, each written by a thread of its own: to say something can harm nothing.

Guarantees: nothing here blocks its caller or raises, whether the other end is a full disk, a terminal that was closed,
or a pipe that nobody reads; what waits is bounded; lines keep their order and stay whole, whichever threads print them.
What finds no room or no reader is counted, and the next lines that get through are preceded by one that says how many
were lost. The descriptors keep their flags, since other processes share them (O_NONBLOCK would be theirs too). They are
duplicated, so that a processor that closes 1 or 2 does not send the log into the file or connection opened next.

Back-pressure was rejected: a log that nobody reads would stop the server. Asking `poll` whether a write may block was
rejected too: it promises PIPE_BUF bytes of a pipe, nothing of a terminal, and other processes write to both.
"""

import atexit
import fcntl
import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

WAITING_BYTES_MAX = 2**20
"""What may wait for the thread, and as much again be in its hands: thousands of lines, so that a burst loses none."""

UNFINISHED_BYTES_MAX = 8192
"""An unfinished line of more than this no longer waits for its end; far more than people read in one line."""

FLUSH_SECONDS = 1.0
"""How long an exit waits for a reader: long for one that reads, short for whoever waits for the exit."""

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

    def start(self) -> None:
        """Take the thread now: once a processor's module has patched `threading`, what it starts is no thread."""
        with self._lock:
            self._has_thread()

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

    def take_thread(self) -> None:
        if not self._has_thread():
            raise OSError(f"no thread can be had for {self._name}: a limit of threads or of memory")

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


class OutputBytes(io.BufferedIOBase):
    """The `buffer` of a text stream: brings whole lines to the output. A line belongs to the thread that began it."""

    def __init__(self, output: Output, file: int, name: str) -> None:
        self._output = output
        self._number = file
        self.name = name
        self._unfinished: dict[int, bytes] = {}

    def write(self, data: Any, /) -> int:
        given = memoryview(data).tobytes()
        thread = threading.get_ident()
        lines = self._unfinished.pop(thread, b"") + given
        end = lines.rfind(b"\n") + 1
        if len(lines) - end > UNFINISHED_BYTES_MAX:
            end = len(lines)
        if end:
            self._output.put(lines[:end], (self, thread))
        if end < len(lines):
            self._unfinished[thread] = lines[end:]
        return len(given)

    def flush(self) -> None:
        """Bring on what this thread has not finished; does not wait until it is written."""
        self._bring_on(threading.get_ident())

    def finish(self) -> None:
        """Bring on what any thread has not finished."""
        for thread in list(self._unfinished):
            self._bring_on(thread)

    def wait(self, seconds: float) -> None:
        """Finish, and return when it is written or lost; at the latest after this time."""
        self.finish()
        self._output.flush(seconds)

    def close(self) -> None:
        """Flush only: it is the server's, whatever a processor does with it."""
        self.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._output.is_terminal

    def fileno(self) -> int:
        return self._number

    def _bring_on(self, thread: int) -> None:
        line = self._unfinished.pop(thread, b"")
        if line:
            self._output.put(line, (self, thread))


class OutputText(io.TextIOWrapper):
    """A text stream that takes any text: what cannot be encoded is escaped."""

    def __init__(self, buffer: OutputBytes) -> None:
        super().__init__(buffer, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)

    def detach(self) -> Any:
        """Return the buffer and keep it too, so that whoever has this stream can go on with it."""
        return self.buffer

    def wait(self) -> None:
        """Return when all that was said is written or lost; at the latest after FLUSH_SECONDS."""
        lines = self.buffer
        assert isinstance(lines, OutputBytes)
        lines.wait(FLUSH_SECONDS)


class StandardOutput:
    """Both outputs of this process and the streams that lead to them."""

    def __init__(self, notice: Notice) -> None:
        out, err = Output(1, "stdout", notice), Output(2, "stderr", notice)
        self._outputs: Sequence[Output] = (out, err)
        for output in self._outputs:
            output.take_thread()
        self._buffers = [OutputBytes(out, 1, "<stdout>"), *(OutputBytes(err, 2, "<stderr>") for _ in range(2))]
        self.stdout, self.stderr, self.log = map(OutputText, self._buffers)

    @property
    def dropped(self) -> int:
        """Lines that were lost since the start."""
        return sum(output.dropped for output in self._outputs)

    def say_last(self, line: str) -> None:
        """Say a last line on stderr and flush; call before `os._exit`, in any thread or signal handler."""
        self.log.write(f"{line}\n")
        self.flush()

    def flush(self) -> None:
        """Return when all that was said is written or lost; at the latest after FLUSH_SECONDS."""
        deadline = time.monotonic() + FLUSH_SECONDS
        for buffer in self._buffers:
            buffer.finish()
        for output in self._outputs:
            output.flush(max(0.0, deadline - time.monotonic()))

    def start(self) -> None:
        for output in self._outputs:
            output.start()

    def lead_here(self) -> None:
        """Lead `sys.stdout` and `sys.stderr` here, whatever a processor has put in their place."""
        sys.stdout = sys.__stdout__ = self.stdout  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self.stderr  # type: ignore[misc]

    def continue_in_child(self) -> None:
        for output in self._outputs:
            output.continue_in_child()


def take_over(notice: Notice) -> StandardOutput:
    """Lead `sys.stdout` and `sys.stderr` through threads, for good; flush them at the exit. Raises OSError."""
    for before in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            before.flush()
    standard = StandardOutput(notice)
    standard.start()
    standard.lead_here()
    atexit.register(standard.flush)
    os.register_at_fork(after_in_child=standard.continue_in_child)
    return standard


def settle() -> None:
    """Return when all that was said on stdout and stderr is written or lost; call before `os._exit`."""
    for stream in filter(None, (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        with suppress(Exception):  # closed, full or gone, or whatever a processor put in its place
            stream.flush()
        if isinstance(stream, OutputText):
            stream.wait()
