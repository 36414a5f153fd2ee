"""The text streams of a server: what is printed goes to its outputs (`output.py`), line by line, and blocks nobody."""

import atexit
import io
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from server.base.output import Notice, Output

FLUSH_SECONDS = 1.0
"""How long an exit waits for a reader: long for one that reads, short for whoever waits for the exit."""

UNFINISHED_BYTES_MAX = 8192
"""An unfinished line of more than this no longer waits for its end; far more than people read in one line."""


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
        """Take both threads. Raises OSError if they cannot be had."""
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

    @property
    def descriptors(self) -> Sequence[int]:
        """What is written to: the process's own duplicates."""
        return [output.descriptor for output in self._outputs]

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

    def lead_here(self) -> None:
        """Lead `sys.stdout` and `sys.stderr` here, whatever a processor has put in their place."""
        sys.stdout = sys.__stdout__ = self.stdout  # type: ignore[misc]  # final for typeshed; what the exit flushes
        sys.stderr = sys.__stderr__ = self.stderr  # type: ignore[misc]  # as above

    def continue_in_child(self) -> None:
        for output in self._outputs:
            output.continue_in_child()


def take_over(notice: Notice) -> StandardOutput:
    """Lead `sys.stdout` and `sys.stderr` through threads, for good; flush them at the exit. Raises OSError."""
    for before in filter(None, (sys.stdout, sys.stderr)):
        with suppress(OSError, ValueError):
            before.flush()
    standard = StandardOutput(notice)
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
