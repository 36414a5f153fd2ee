"""Stdout and stderr of a server: what is said is written whole and in order, or counted; nobody waits for it."""

import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.base import log
from server.base.output import WAITING_BYTES_MAX, Output
from server.base.streams import FLUSH_SECONDS, UNFINISHED_BYTES_MAX, OutputBytes, OutputText
from tests.support.waiting import HANG_SECONDS


class Pipe:
    """An output that leads to a pipe, and the end that a test reads."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.output = Output(writing, "test", log.lines_lost)
        os.close(writing)
        self.stream = self.open()

    def open(self) -> OutputText:
        return OutputText(OutputBytes(self.output, 2, "<stderr>"))

    def read(self, enough: bytes = b"") -> bytes:
        """What has been written, once it ends so."""
        said = b""
        while not said.endswith(enough) or not said:
            said += os.read(self.reading, 2**20)
        return said


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reading)


def test_what_nobody_reads_is_counted(pipe: Pipe) -> None:
    """A pipe without room keeps nobody waiting; later lines say how many were lost before, and the sum is right."""
    line, count = b"x" * 1023 + b"\n", 4 * WAITING_BYTES_MAX // 1024
    for _ in range(count):
        pipe.output.put(line)
    lost = pipe.output.dropped
    assert lost > 1
    said = b""
    while said.count(line) + lost < count:
        said += os.read(pipe.reading, 65536)
    notices = [json.loads(each) for each in said.splitlines() if each.startswith(b"{")]
    assert {(notice["event"], notice["level"]) for notice in notices} == {("lines lost", "warning")}
    assert sum(notice["lines"] for notice in notices) == lost


def test_a_failing_descriptor_loses_only_lines() -> None:
    """A full disk and a reader that went away raise nothing; each line is counted."""
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    for file in (writing, full):
        output = Output(file, "test", log.lines_lost)
        os.close(file)
        for _ in range(3):
            output.put(b"a line\nanother\n")
        output.flush(HANG_SECONDS)
        assert output.dropped == 6


def test_without_a_thread_lines_are_counted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host allows no thread, lines are lost; with the next that finds one it is said how many."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        pipe.output.put(b"lost\n")
        pipe.output.flush(FLUSH_SECONDS)
    assert pipe.output.dropped == 1
    pipe.output.put(b"said\n")
    notice, line = pipe.read(b"said\n").splitlines()
    assert (json.loads(notice)["lines"], line) == (1, b"said")


def test_flags_of_a_descriptor_stay(pipe: Pipe) -> None:
    """A shared descriptor stays blocking; one that somebody else made non-blocking loses nothing to a slow reader."""
    shared = pipe.output._file
    pipe.output.put(b"a\n")
    pipe.output.flush(HANG_SECONDS)
    assert os.get_blocking(shared)
    os.set_blocking(shared, False)
    lines = b"x" * 1023 + b"\n"
    for _ in range(500):
        pipe.output.put(lines)
    pipe.output.put(b"last\n")
    assert pipe.read(b"last\n").count(b"x\n") == 500
    assert pipe.output.dropped == 0


def test_lines_of_threads_stay_whole(pipe: Pipe) -> None:
    """Threads that print in pieces, on two streams, have each line whole and in their own order."""
    streams = (pipe.stream, pipe.open())

    def work(name: int) -> None:
        for count in range(200):
            print("of", name, count, "x" * 50, sep=":", end="", file=streams[name % 2])
            print(file=streams[name % 2])

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    said = b""
    while said.count(b"\n") < 800:
        said += os.read(pipe.reading, 65536)
    for thread in threads:
        thread.join(HANG_SECONDS)
    lines = [line.split(":") for line in said.decode().splitlines()]
    assert {(first, len(rest)) for first, *rest in lines} == {("of", 3)}
    for name in range(4):
        assert [int(count) for _, found, count, _ in lines if found == str(name)] == list(range(200))


def test_an_unfinished_line_is_ended(pipe: Pipe) -> None:
    """What one writer flushes goes on in its line; another's line begins on its own."""
    print("one", end="", file=pipe.stream)
    print("two", end="", file=pipe.stream, flush=True)
    print("three", end="", file=pipe.stream, flush=True)
    print("mine", file=pipe.open())
    assert pipe.read(b"mine\n") == b"onetwothree\nmine\n"


def test_a_stream_takes_whatever_is_printed(pipe: Pipe) -> None:
    """Half a surrogate pair, bytes, an endless line and a huge one raise nothing; close and detach change nothing."""
    stream = pipe.stream
    stream.close()
    assert stream.detach() is stream.buffer
    print("half \ud83d", file=stream)
    stream.buffer.write(b"bytes \xff\n")
    stream.writelines(["a\n", "b\n"])
    assert pipe.read(b"b\n") == b"half \\ud83d\nbytes \xff\na\nb\n"
    endless = "y" * (UNFINISHED_BYTES_MAX + 1)
    stream.write(endless)
    assert pipe.read(endless.encode()) == endless.encode()
    stream.write("z" * (100 * WAITING_BYTES_MAX))
    assert pipe.output.dropped == 1
    assert (stream.fileno(), stream.isatty(), stream.encoding, stream.closed) == (2, False, "utf-8", False)
    stream.reconfigure(line_buffering=True, errors="replace")
    assert (stream.writable(), stream.readable(), stream.seekable()) == (True, False, False)
    with pytest.raises(TypeError):
        stream.buffer.write(5)
    with pytest.raises(io.UnsupportedOperation):
        stream.read()


def test_a_closed_number_is_not_written_to(tmp_path: Path) -> None:
    """Who closes the descriptor and opens a file, which gets its number, has no log line in that file."""
    reading, writing = os.pipe()
    output = Output(writing, "test", log.lines_lost)
    os.close(writing)
    opened = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
    os.dup2(opened, writing)
    output.put(b"a line\n")
    output.flush(HANG_SECONDS)
    assert os.read(reading, 100) == b"a line\n"
    assert (tmp_path / "data").read_bytes() == b""
    for file in {reading, writing, opened}:
        os.close(file)
