"""What a server may say to any bytes: answers of the contract, each whole, and nothing else, until it closes.

The contract's table is written out here, so that the product does not judge itself.
"""

import json
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.support.waiting import HANG_SECONDS

PAIRS = {
    (400, "invalid_json"),
    (400, "invalid_event"),
    (400, "invalid_encoding"),
    (400, "invalid_request"),
    (401, "unauthorized"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (408, "timeout"),
    (413, "too_large"),
    (415, "unsupported_encoding"),
    (415, "unsupported_media_type"),
    (431, "headers_too_large"),
    (503, "overloaded"),
    (503, "storage_full"),
    (503, "storage_failed"),
    (503, "draining"),
    (503, "starting"),
}
"""Status and code of every refusal of the public side."""

ALSO = {401: "www-authenticate", 405: "allow", 503: "retry-after"}
"""The header that answers of a status have beside those that all have."""

ALWAYS = {"content-type", "content-length", "date"}
COUNTS = ("accepted", "deferred", "dropped")

CONTINUE = b"HTTP/1.1 100 \r\n\r\n"
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) [A-Z][A-Za-z ]+")
HEADER_LINE = re.compile(rb"([a-z-]+): ([\x20-\x7e]+)")


@dataclass(frozen=True, slots=True)
class StrictAnswer:
    """One answer that has passed."""

    status: int
    code: str
    """"" unless it is a refusal."""
    said: dict[str, Any]
    """Its body; empty for an answer to HEAD."""

    @property
    def taken(self) -> int:
        """How many events it says are in the store."""
        return sum(self.said.get(name, 0) for name in COUNTS)


def converse(port: int, pieces: Sequence[bytes]) -> bytes:
    """Send these pieces and say that no more will come; return all that is answered until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(BrokenPipeError, ConnectionResetError):  # answered and closed before all was sent
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def answers_in(received: bytes) -> list[StrictAnswer]:
    """Return the answers in all that a server said on one connection; raise AssertionError if it is anything else."""
    found: list[StrictAnswer] = []
    while received:
        if received.startswith(CONTINUE):
            received = received.removeprefix(CONTINUE)
            continue
        head, end, rest = received.partition(b"\r\n\r\n")
        assert end, f"a head that does not end: {head!r}"
        status, headers = _head(head)
        size = int(headers["content-length"])
        is_without = not rest or rest.startswith(b"HTTP/1.1 ")  # to HEAD; no body begins like that
        body, received = (b"", rest) if is_without else (rest[:size], rest[size:])
        assert is_without or len(body) == size, f"a body that is cut short: {body!r}"
        found.append(_answer(status, headers, body))
        assert "connection" not in headers or not received, f"said after the last answer: {received!r}"
    return found


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.split(b"\r\n")
    status = STATUS_LINE.fullmatch(first)
    assert status, f"not a status line: {first!r}"
    matches = [HEADER_LINE.fullmatch(line) for line in lines]
    assert all(matches), f"not header lines: {lines}"
    pairs = [(each[1].decode(), each[2].decode()) for each in matches if each]
    assert len(dict(pairs)) == len(pairs), f"a header twice: {pairs}"
    return int(status[1]), dict(pairs)


def _answer(status: int, headers: dict[str, str], body: bytes) -> StrictAnswer:
    more = {ALSO[status]} if status in ALSO else set()
    assert headers.keys() - {"connection"} == ALWAYS | more, headers
    assert headers.get("connection", "close") == "close"
    assert headers["content-type"] == "application/json"
    said = json.loads(body) if body else {}
    if status == 200:
        assert _is_accepted(said) or _is_health(said) or not said, said
        return StrictAnswer(status, "", said)
    assert not said or set(said) == {"code", "message"}, said
    assert not said or (status, said["code"]) in PAIRS, said
    return StrictAnswer(status, said.get("code", ""), said)


def _is_accepted(said: dict[str, Any]) -> bool:
    """Return whether it is the answer to a delivery."""
    if set(said) - {"success"} != {"status", *COUNTS, "rejected", "delivery"}:
        return False
    rejected = all(set(each) == {"index", "code", "message"} for each in said["rejected"])
    return rejected and said["status"] == "accepted" and all(type(said[name]) is int for name in COUNTS)


def _is_health(said: dict[str, Any]) -> bool:
    """Return whether it is the answer of `/livez` or `/readyz`."""
    return said.get("status") == "live" or said.get("ready") is True
