"""Bodies that are being read, on the running server: a source holds no more of them than leaves room for others."""

import socket

from tests.support.client import Response
from tests.support.config import TOKEN, source
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually


def assert_overloaded(answer: Response) -> None:
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "overloaded", "5")


def begun(child: Child, length: int | None) -> socket.socket:
    """A request to `worked` that is let in, its body still to come; chunked where it has no length."""
    sock = socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS)
    body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = ("POST /ingest/inbound/worked HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}", body)
    sock.sendall("\r\n".join([*lines, "Expect: 100-continue", "", ""]).encode())
    assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
    return sock


def test_bodies_in_flight_are_bounded_by_source(children: Children) -> None:
    """A source takes room for bodies only while it holds less than is free; nobody waits for room."""
    limits = "[limits]\nbody_bytes_max = 1000\nin_flight_bytes_max = 1000\n"
    child = children(limits + source("worked") + source("archive"))
    child.start()
    body = b'{"text": "%s"}' % (b"x" * 600)
    with begun(child, len(body)) as busy:
        assert_overloaded(child.post("worked", b'{"id": 1}'))
        assert_overloaded(child.post("archive", b'"%s"' % (b"x" * 500)))
        assert child.post("archive", b'{"text": "%s"}' % (b"x" * 200)).status == 200
        busy.sendall(body)
        assert busy.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert child.post("worked", body).status == 200


def test_a_chunked_body_reserves_as_it_grows(children: Children) -> None:
    """A body of unknown length takes its room as it grows, and gives it back when its client goes away."""
    limits = "[limits]\nbody_bytes_max = 1000\nin_flight_bytes_max = 1000\n"
    child = children(limits + source("worked") + source("archive"))
    child.start()
    with begun(child, None) as busy:
        assert child.post("worked", b'{"id": 1}').status == 200
        busy.sendall(b"258\r\n" + b"x" * 0x258 + b"\r\n")
        eventually(lambda: child.post("worked", b'{"id": 1}').status == 503)
    eventually(lambda: child.post("worked", b'{"id": 1}').status == 200)
