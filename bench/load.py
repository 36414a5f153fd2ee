"""A load generator: one thread, one epoll, keep-alive connections; closed loop, or open loop at a fixed rate.

Closed: each connection sends its next request when it has its answer; measures throughput. Open: requests are due at
fixed times, whatever the server does; a latency counts from the time at which the request was due, so a server that
stops for a moment is not forgiven the requests that it kept waiting.

Where others work on the generator's core it is late itself, in sending and in looking. So an open loop also says how
long the server had each request: until the time with which the kernel marked its answer.
"""

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

RECEIVE_BYTES = 65536

SPIN_SECONDS = 0.002
"""The last of each wait is spent looking: epoll waits in whole milliseconds, and would send too late."""

TIMESTAMPS = 35
"""SO_TIMESTAMPNS of socket(7), which Python does not name: what is read comes with the time at which the kernel had its
last byte, of the wall clock, as a `struct timespec`."""
_TIMESPEC = struct.Struct("qq")


@dataclass
class Load:
    """What was seen. Latencies in seconds, of answers with status 200."""

    seconds: float = 0.0
    answered: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    """Of the same answers, how long the server had the request, in seconds: from when it was sent, and what it had
    waited before for a connection that the server did not hold, until the kernel had the answer."""

    def percentile(self, share: float) -> float:
        """The latency that this share of the answers did not exceed, in milliseconds."""
        return percentile_ms(self.latencies, share)


def percentile_ms(seconds: Sequence[float], share: float) -> float:
    """What this share of them do not exceed, in milliseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("nan")


class _Client:
    __slots__ = ("arrived", "due", "held", "received", "sent", "sock")

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, TIMESTAMPS, 1)
        self.received = b""
        self.due = self.held = 0.0
        self.sent = self.arrived = 0.0
        """By the wall clock, as the kernel's marks."""

    @property
    def served(self) -> float:
        return self.held + self.arrived - self.sent

    def send(self, request: bytes, due: float, held: float = 0.0) -> None:
        """`held`: the seconds for which there was no free connection though it was due."""
        self.due, self.held = due, held
        self.sent = time.time()
        self.sock.sendall(request)

    def receive(self) -> int | None:
        """The status of the answer, once all of it has come."""
        data, marks, _, _ = self.sock.recvmsg(RECEIVE_BYTES, socket.CMSG_SPACE(_TIMESPEC.size))
        if not data:
            raise ConnectionError("the server closed a connection")
        for _, _, content in marks:
            seconds, nanoseconds = _TIMESPEC.unpack(content)
            self.arrived = seconds + nanoseconds / 1e9
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return None
        at = head.lower().index(b"content-length:") + 15
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return None
        self.received = rest[length:]
        return int(head[9:12])


def post(source: str, token: str, body: bytes, headers: str = "") -> bytes:
    """The bytes of one delivery; more headers end with CR LF each."""
    return (
        f"POST /ingest/inbound/{source} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    ).encode() + body


def closed(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> Load:
    """As fast as the server answers, on so many connections, for so long."""
    load = Load()
    with _Clients(port, connections) as clients:
        start = time.perf_counter()
        end = start + seconds
        for client in clients.all:
            client.send(next(requests), time.perf_counter())
        while (now := time.perf_counter()) < end:
            for client in clients.answered(load, end - now):
                client.send(next(requests), time.perf_counter())
        load.seconds = time.perf_counter() - start
        clients.finish(load)
    return load


def opened(port: int, requests: Iterator[bytes], connections: int, seconds: float, per_second: float) -> Load:
    """One request every 1/`per_second` s, on whichever connection is free."""
    load = Load()
    with _Clients(port, connections) as clients:
        free = deque(clients.all)
        start = all_held_until = time.perf_counter()
        count = int(per_second * seconds)
        sent = 0
        while sent < count:
            now = time.perf_counter()
            while sent < count and free and (due := start + sent / per_second) <= now:
                free.popleft().send(next(requests), due, max(0.0, all_held_until - due))
                sent += 1
            all_held = not free
            wait = 1.0 if all_held else start + sent / per_second - time.perf_counter()
            free.extend(clients.answered(load, max(0.0, wait - SPIN_SECONDS)))
            if all_held:
                all_held_until = time.perf_counter()
        clients.finish(load)
        load.seconds = time.perf_counter() - start
    return load


class _Clients:
    def __init__(self, port: int, count: int) -> None:
        self.all: Sequence[_Client] = [_Client(port) for _ in range(count)]
        self._by_file = {client.sock.fileno(): client for client in self.all}
        self._epoll = select.epoll()
        for file in self._by_file:
            self._epoll.register(file, select.EPOLLIN)
        self._waiting = 0

    def __enter__(self) -> "_Clients":
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()
        for client in self.all:
            client.sock.close()

    def answered(self, load: Load, seconds: float) -> list[_Client]:
        """The clients whose answers came within this time, if any; waits for the first of them only."""
        done = []
        for file, _ in self._epoll.poll(seconds):
            client = self._by_file[file]
            status = client.receive()
            if status is None:
                continue
            if status == 200:
                load.answered += 1
                load.latencies.append(time.perf_counter() - client.due)
                load.served.append(client.served)
            else:
                load.refused += 1
            client.due = 0.0
            done.append(client)
        return done

    def finish(self, load: Load) -> None:
        """Wait for the answers that are still to come."""
        end = time.perf_counter() + 30
        while any(client.due for client in self.all) and time.perf_counter() < end:
            self.answered(load, 1.0)
