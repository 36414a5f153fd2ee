"""Load that goes on when it is refused: connections that are made anew once the server has closed them.

Closed loop: each connection sends its next request after its answer. Open loop: requests are due at fixed times and go
out on whichever connection is free; one for which none is free in time was not sent, and is counted as that. Nothing
blocks: a server that does not read a large body holds up its own connection only.
"""

import errno
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from bench.load import RECEIVE_BYTES

LATE_SECONDS = 1.0
"""A request that found no connection for so long is given up by its sender."""
LAST_SECONDS = 60.0
"""How long answers are waited for after the load."""
CONNECTING_MAX = 64
"""Connections that are opened at once before a load."""
AGAIN_SECONDS = 0.02
"""Before a connection that was refused or reset is tried again."""


@dataclass
class Flooded:
    """What was seen. Latencies in seconds of answers with 200, from when their requests were due."""

    seconds: float = 0.0
    """Of the load."""
    accepted_in_time: int = 0
    """Before its end."""
    answers: Counter[str] = field(default_factory=Counter)
    """By "200", "503 Retry-After", another status, "closed" without an answer, or "not sent"."""
    latencies: list[float] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        return self.answers["200"]

    @property
    def others(self) -> dict[str, int]:
        return {name: count for name, count in self.answers.items() if name != "200"}

    def percentile(self, share: float) -> float:
        """The latency that this share of the accepted did not exceed, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("nan")


class _Client:
    """One place for a connection. Free if it has nothing to send and waits for no answer."""

    __slots__ = ("due", "file", "left", "received", "sock")

    def __init__(self) -> None:
        self.sock: socket.socket | None = None
        self.left = memoryview(b"")
        self.received = b""
        self.due = 0.0
        self.file = -1


class Flood:
    """So many connections to one port; use it as a context manager."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._by_file: dict[int, _Client] = {}
        self._all = [_Client() for _ in range(connections)]
        self._free = deque(self._all)
        self._resting: deque[tuple[float, _Client]] = deque()
        self.found = Flooded()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in list(self._by_file.values()):
            self._close(client)
        self._epoll.close()

    def closed(self, requests: Iterator[bytes], seconds: float) -> Flooded:
        """As fast as the server answers."""
        start = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            while self._free:
                self._send(next(requests), now)
            self._look(min(0.05, start + seconds - now))
        return self._ended(time.perf_counter() - start)

    def opened(self, requests: Iterator[bytes], seconds: float, per_second: float) -> Flooded:
        """So many requests a second, whatever the server does."""
        start = time.perf_counter()
        count, due_count = int(per_second * seconds), 0
        while due_count < count:
            now = time.perf_counter()
            while due_count < count and (due := start + due_count / per_second) <= now:
                if not self._free and now - due < LATE_SECONDS:
                    break
                due_count += 1
                if self._free:
                    self._send(next(requests), due)
                else:
                    self.found.answers["not sent"] += 1
            self._look(0.001)
        return self._ended(time.perf_counter() - start)

    def one(self, request: bytes) -> None:
        """Send it and wait for its answer; call only if nothing is under way."""
        end = time.perf_counter() + LAST_SECONDS
        while not self._free:
            self._look(AGAIN_SECONDS)
        self._send(request, time.perf_counter())
        while any(each.due for each in self._all) and time.perf_counter() < end:
            self._look(0.05)

    def connect_all(self, requests: Iterator[bytes]) -> None:
        """Open every connection, each with a request, a few at a time; forget what was measured of them."""
        for _ in range(len(self._all)):
            self._send(next(requests), time.perf_counter())
            while sum(1 for each in self._by_file.values() if each.due) > CONNECTING_MAX:
                self._look(0.01)
        self.finish()
        self.found = Flooded()

    def finish(self) -> Flooded:
        """Wait for the answers that are still to come; those that do not are "unanswered"."""
        end = time.perf_counter() + LAST_SECONDS
        while (waiting := [each for each in self._all if each.due]) and time.perf_counter() < end:
            self._look(0.05)
        self.found.answers["unanswered"] += len(waiting)
        return self.found

    def _ended(self, seconds: float) -> Flooded:
        self.found.seconds, self.found.accepted_in_time = seconds, self.found.accepted
        return self.found

    def _send(self, request: bytes, due: float) -> None:
        client = self._free.popleft()
        client.due, client.left, client.received = due, memoryview(request), b""
        if client.sock is None:
            self._connect(client)
        else:
            self._write(client)

    def _connect(self, client: _Client) -> None:
        client.sock = sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.file = sock.fileno()
        self._by_file[client.file] = client
        self._epoll.register(client.file, select.EPOLLIN | select.EPOLLOUT)
        if sock.connect_ex(("127.0.0.1", self._port)) not in (0, errno.EINPROGRESS):
            self._end(client, "closed")

    def _write(self, client: _Client) -> None:
        assert client.sock is not None
        had = bool(client.left)
        try:
            client.left = client.left[client.sock.send(client.left) :]
        except BlockingIOError:
            pass  # its buffer is full: the rest goes when it can be written
        except OSError:
            client.left = memoryview(b"")  # refused: its answer may be there
        if had:
            self._epoll.modify(client.file, select.EPOLLIN | (select.EPOLLOUT if client.left else 0))

    def _look(self, seconds: float) -> None:
        now = time.perf_counter()
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])
        for file, events in self._epoll.poll(max(0.0, seconds)):
            client = self._by_file[file]
            if events & ~select.EPOLLOUT:
                self._read(client)
            elif client.left:
                self._write(client)

    def _read(self, client: _Client) -> None:
        assert client.sock is not None
        try:
            data = client.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(client, "closed")
            return
        client.received += data
        head, found, rest = client.received.partition(b"\r\n\r\n")
        if found and len(rest) >= int(head[head.lower().index(b"content-length:") + 15 :].split(b"\r\n", 1)[0]):
            self._answered(client, head)

    def _answered(self, client: _Client, head: bytes) -> None:
        lines = head.lower().split(b"\r\n")
        name = head[9:12].decode() + (" Retry-After" if any(line.startswith(b"retry-after") for line in lines) else "")
        if b"connection: close" in lines or client.left:
            self._end(client, name)
            return
        self._count(client, name)
        self._free.append(client)

    def _end(self, client: _Client, name: str) -> None:
        """Its connection is over, with this answer or none."""
        if client.due:
            self._count(client, name)
        self._close(client)
        if client not in self._free:
            self._resting.append((time.perf_counter() + AGAIN_SECONDS, client))

    def _count(self, client: _Client, name: str) -> None:
        self.found.answers[name] += 1
        if name == "200":
            self.found.latencies.append(time.perf_counter() - client.due)
        client.due = 0.0

    def _close(self, client: _Client) -> None:
        if client.sock is not None:
            self._by_file.pop(client.file, None)
            with suppress(OSError):
                self._epoll.unregister(client.file)
            client.sock.close()
            client.sock = None
        client.left = memoryview(b"")


def paced(port: int, requests: Iterator[bytes], seconds: float, pause_seconds: float) -> Flooded:
    """One after the other on one connection, with a pause between an answer and the next request."""
    with Flood(port, 1) as flood:
        start = time.perf_counter()
        while time.perf_counter() < start + seconds:
            flood.one(next(requests))
            time.sleep(pause_seconds)
        flood.found.seconds = time.perf_counter() - start
        return flood.found
