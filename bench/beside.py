"""What comes beside the load of a soak, in a process of its own, round after round until stdin ends.

    python -m bench.beside PORT ADMIN_PORT

A round is one request of each kind that is refused, one that is cut off, signed events sent twice, a scrape and
look-ups. stdout has one line of JSON at the end: how often each answer came, and each that should have been another.
"""

import gzip
import json
import select
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse

from bench.child import HANG_SECONDS
from bench.load import post
from bench.workload import TOKEN
from server.intake.claims import Message
from server.intake.schemes import SCHEMES

SOURCE = "beside"
"""A webhook source that asks for a signature under SIGNING_SECRET."""
SIGNING_SECRET = "for-measuring-signatures-only"

PAUSE_SECONDS = 1.0
"""Between two rounds: the load is what is measured."""
PROBLEMS_MAX = 20

HEAD = "POST /ingest/inbound/webhook HTTP/1.1\r\nHost: localhost\r\n"
AUTHORIZED = f"{HEAD}Authorization: Bearer {TOKEN}\r\n"
HALF = f"{AUTHORIZED}Content-Length: 1000\r\n\r\n".encode() + b'{"inbound'
"""A delivery whose body does not come."""


def _post(body: bytes, headers: str = "") -> bytes:
    return post("webhook", TOKEN, body, headers)


def _form() -> bytes:
    return f"{AUTHORIZED}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b".encode()


REFUSED: dict[str, tuple[int, bytes]] = {
    "no token": (401, f"{HEAD}Content-Length: 2\r\n\r\n{{}}".encode()),
    "wrong token": (401, post("webhook", "wrong", b"{}")),
    "unknown source": (401, post("nobody", TOKEN, b"{}")),
    "no signature": (401, post(SOURCE, TOKEN, b"{}")),
    "wrong signature": (401, post(SOURCE, TOKEN, b"{}", f"x-convertmax-signature: {'0' * 64}\r\n")),
    "not JSON": (400, _post(b'{"inbound_event_id":')),
    "no event": (400, _post(b"[]")),
    "corrupt gzip": (400, _post(b"not gzip", "Content-Encoding: gzip\r\n")),
    "two lengths": (400, f"{AUTHORIZED}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}".encode()),
    "length and chunks": (
        400,
        f"{AUTHORIZED}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
    ),
    "not HTTP": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "no such route": (404, b"POST /ingest/nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"),
    "not POST": (405, b"GET /ingest/inbound/webhook HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "large body": (413, f"{AUTHORIZED}Content-Length: 99999999\r\n\r\n".encode()),
    "bomb": (413, _post(gzip.compress(bytes(2**23), mtime=0), "Content-Encoding: gzip\r\n")),
    "many items": (413, _post(b"[" + b"{}," * 5000 + b"{}]")),
    "many containers": (413, _post(b"[" + b"[]," * 250_000 + b"[]]")),
    "unknown encoding": (415, _post(b"{}", "Content-Encoding: br\r\n")),
    "form": (415, _form()),
    "long head": (431, f"{AUTHORIZED}X-Long: {'x' * 20_000}\r\nContent-Length: 2\r\n\r\n{{}}".encode()),
}
"""The status that is right, and the bytes."""

SCRAPES = ("/metrics", "/sources", "/readyz", "/livez", "/dead")


@dataclass
class Seen:
    """What came back, as the last line says it."""

    rounds: int = 0
    accepted: int = 0
    """Events of SOURCE that were answered with 200."""
    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def note(self, name: str, wanted: int, got: int | str) -> None:
        self.statuses[str(got)] += 1
        if got != wanted and len(self.problems) < PROBLEMS_MAX:
            self.problems.append(f"{name}: {got} instead of {wanted}")


class Round:
    """One round, against these ports."""

    def __init__(self, port: int, admin_port: int, seen: Seen) -> None:
        self._port = port
        self._admin_port = admin_port
        self._seen = seen

    def run(self) -> None:
        with connected(self._port) as slow:
            slow.sendall(HALF)
            for name, (status, request) in REFUSED.items():
                self._seen.note(name, status, asked(self._port, request))
            self._cut()
            self._look_up(self._accepted())
            self._seen.note("slow body", 408, _status(slow))
        self._seen.rounds += 1

    def _cut(self) -> None:
        """Reset a connection in the middle of a body."""
        with connected(self._port) as sock:
            sock.sendall(HALF)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _accepted(self) -> str:
        """Send a signed event twice; return its id."""
        event_id = f"beside-{self._seen.rounds}"
        body = json.dumps({"inbound_event_id": event_id, "event_type": "beside", "payload": {"round": 1}}).encode()
        headers = SCHEMES["convertmax"].sign(Message(body, SIGNING_SECRET.encode(), event_id, "beside", 0))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        for _ in range(2):
            status = asked(self._port, post(SOURCE, TOKEN, body, lines))
            self._seen.note("signed", 200, status)
            self._seen.accepted += status == 200
        return event_id

    def _look_up(self, event_id: str) -> None:
        paths = [*SCRAPES, f"/receipts/{SOURCE}/{event_id}", f"/events/{SOURCE}/{event_id}"]
        for path, status in [*((path, 200) for path in paths), (f"/receipts/{SOURCE}/never-sent", 404)]:
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            self._seen.note(path.split("/")[1], status, asked(self._admin_port, request))


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS)


def asked(port: int, request: bytes) -> int | str:
    """The status of the answer, or how there was none."""
    with connected(port) as sock:
        with suppress(OSError):  # refused before all of it was read: the answer may have come
            sock.sendall(request)
        return _status(sock)


def _status(sock: socket.socket) -> int | str:
    with HTTPResponse(sock) as answer:
        try:
            answer.begin()
            answer.read()
        except (OSError, HTTPException) as error:
            return type(error).__name__
        return answer.status


def rounds_until_stdin_ends() -> Iterator[None]:
    """One, then one more after each pause."""
    yield
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        yield


def main() -> None:
    port, admin_port = map(int, sys.argv[1:])
    seen = Seen()
    for _ in rounds_until_stdin_ends():
        Round(port, admin_port, seen).run()
    print(json.dumps(vars(seen)))


if __name__ == "__main__":
    main()
