"""Many connections that do one bad thing, for ever: `python -m tests.torture.attacker PORT KIND CONNECTIONS`.

Those with a token have a source of their own. What the server closes is opened anew. Ends when its stdin does, and says
in JSON what became of the connections.
"""

import gzip
import json
import select
import socket
import struct
import sys
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from tests.support.config import TOKEN

PATH = b"POST /ingest/inbound/evil HTTP/1.1\r\nHost: a\r\n"
HEAD = PATH + b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
PAUSE_SECONDS = 0.2
"""Between two turns, in each of which every connection says a little more."""
OPENED_MAX = 100
"""Connections opened in one turn: more would be a flood of another kind."""
READ_BYTES = 65536


class Kind(NamedTuple):
    """What each connection says at first and in each turn, whether it reads, and whether it then breaks off."""

    first: bytes
    more: bytes = b""
    reads: bool = True
    resets: bool = False


def whole(body: bytes, *lines: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def unknown(body: bytes) -> bytes:
    """What is read without knowing who sends it."""
    return b"POST /v1/batch HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def bomb() -> bytes:
    """As much as may be sent, decoding to a thousand times that."""
    return whole(gzip.compress(bytes(500_000_000), 9), b"Content-Encoding: gzip")


KINDS = {
    "slow heads": lambda: Kind(PATH, b"X-A: b\r\n"),
    "slow bodies": lambda: Kind(HEAD + b"Content-Length: 4096\r\n\r\n{", b" "),
    "slow chunks": lambda: Kind(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "silent connections": lambda: Kind(b""),
    "pipelines that nobody reads": lambda: Kind(whole(b"[]") * 100, whole(b"[]") * 1000, reads=False),
    "pipelines of thousands": lambda: Kind(whole(b"[]") * 100, whole(b"[]") * 100),
    "connections that come and go": lambda: Kind(PATH, resets=True),
    "guesses at tokens": lambda: Kind(PATH + b"Authorization: Bearer a-guess\r\nContent-Length: 2\r\n\r\n{}"),
    "bombs": lambda: Kind(bomb(), b""),
    "bodies of strangers": lambda: Kind(unknown(b'{"writeKey":"a-guess","a":[' + b"{}," * 199_980 + b"{}]}"), b""),
    "deep and wide JSON": lambda: Kind(whole(b"[" + b"{}," * 199_990 + b"{}]"), b""),
    "large heads": lambda: Kind(PATH + (b"X-%s: y\r\n" % (b"a" * 150)) * 99 + b"\r\n", b""),
}


@dataclass(slots=True)
class Connection:
    """One of them, and what it has not said yet."""

    sock: socket.socket
    unsaid: bytes


class Attacker:
    """All connections of one kind."""

    def __init__(self, port: int, kind: Kind, count: int) -> None:
        self._address = ("127.0.0.1", port)
        self._kind = kind
        self._count = count
        self._open: list[Connection] = []
        self.said: Counter[str] = Counter()
        """Opened, closed, and the statuses that came."""

    def turn(self) -> None:
        """Open what is missing; let each connection say and read a little."""
        for _ in range(min(OPENED_MAX, self._count - len(self._open))):
            self._add()
        self._open = [each for each in self._open if self._goes_on(each)]

    def _add(self) -> None:
        sock = socket.socket()
        if not self._kind.reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        try:
            sock.connect(self._address)
        except OSError:
            self.said["not opened"] += 1
            sock.close()
            return
        sock.setblocking(False)
        self.said["opened"] += 1
        self._open.append(Connection(sock, self._kind.first))

    def _goes_on(self, each: Connection) -> bool:
        """Say what is left, or a little more; read. Return whether the connection is still of use."""
        try:
            each.unsaid = each.unsaid or self._kind.more
            if each.unsaid:
                each.unsaid = each.unsaid[each.sock.send(each.unsaid) :]
            is_open = not self._kind.reads or self._reads(each)
        except BlockingIOError:
            is_open = not self._kind.reads or self._reads(each)
        except OSError:
            is_open = False
        if is_open and not self._kind.resets:
            return True
        self.said["closed"] += not is_open
        each.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        each.sock.close()
        return False

    def _reads(self, each: Connection) -> bool:
        try:
            data = each.sock.recv(READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for part in data.split(b"HTTP/1.1 ")[1:]:
            self.said[part[:3].decode()] += 1
        return data != b""


def main() -> None:
    _, port, kind, count = sys.argv
    attacker = Attacker(int(port), KINDS[kind](), int(count))
    _say("begun")
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        attacker.turn()
    _say(json.dumps(attacker.said))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
