"""Heavy bodies on the running server: a small request passes those that wait, and nothing else changes for them."""

import http.client
import json
import selectors
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from tests.support.config import TOKEN, source
from tests.support.ledger import check_identity, totals
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

HEAVY = 24
DEEP = b'{"payload":[%b[]]}' % ((b"[" * 240 + b"]" * 240 + b",") * 120)
"""Takes long to parse, and comes in one read of the socket: no part of it is still to be received."""
ROUNDS = 5
"""In one of which, at least, this process is not so late with the small request that the others are answered."""


@contextmanager
def sent(child: Child, count: int, body: bytes, *, begun: bool = False) -> Iterator[list[http.client.HTTPConnection]]:
    """Connections on which this body was sent, their last bytes at once, the answers still to come. `begun`: the server
    had read each head before."""
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", child.port, timeout=HANG_SECONDS)
            stack.enter_context(closing(connection))
            connection.putrequest("POST", "/ingest/inbound/heavy")
            connection.putheader("Authorization", f"Bearer {TOKEN}")
            connection.putheader("Content-Length", str(len(body)))
            if begun:
                connection.putheader("Expect", "100-continue")
            connection.endheaders()
            assert not begun or connection.sock.recv(1024).endswith(b"\r\n\r\n")
            connection.send(body[:-1])
            connections.append(connection)
        for connection in connections:
            connection.send(body[-1:])
        yield connections


def unanswered(connections: list[http.client.HTTPConnection]) -> int:
    """On how many no answer has come."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.sock, selectors.EVENT_READ)
        return len(connections) - len(selector.select(0))


def accepted(connections: list[http.client.HTTPConnection]) -> int:
    """How many were answered with 200; waits for the answers."""
    answers = [connection.getresponse() for connection in connections]
    for answer in answers:
        json.loads(answer.read())
    return [answer.status for answer in answers].count(200)


def test_a_small_request_passes_heavy_ones(children: Children) -> None:
    """One that is sent after many heavy ones has its answer before the last of them, from either front end."""
    child = children(source("heavy") + source("small"))
    child.start()

    def passes() -> bool:
        with sent(child, HEAVY, DEEP) as heavy:
            assert child.post("small", {"id": 1}).status == 200
            left = unanswered(heavy)
            assert accepted(heavy) == HEAVY
            return left > 1

    assert any(passes() for _ in range(ROUNDS))
    check_identity(child)
    assert child.stop() == 0


def test_a_drain_answers_heavy_bodies_that_wait(children: Children) -> None:
    """Those that were begun when the server is told to end are read, committed and answered."""
    child = children(source("heavy"))
    child.start()
    with sent(child, HEAVY, DEEP, begun=True) as heavy:
        eventually(lambda: unanswered(heavy) < HEAVY)
        child.signal(signal.SIGTERM)
        assert accepted(heavy) == HEAVY
    assert child.wait() == 0
    assert totals(child)["heavy"]["received"] == HEAVY


def test_a_heavy_body_holds_its_bytes_until_read(children: Children) -> None:
    """Those that wait count as in flight: what does not fit beside them is refused, and all is given back."""
    bytes_max = len(DEEP) * 2
    child = children(
        f"[limits]\nin_flight_bytes_max = {bytes_max}\nbody_bytes_max = {bytes_max // 2}\n" + source("heavy")
    )
    child.start()

    def some_are_refused() -> bool:  # on a busy machine they may come one by one
        with sent(child, HEAVY, DEEP) as heavy:
            return 0 < accepted(heavy) < HEAVY

    eventually(some_are_refused)
    with sent(child, 1, DEEP) as heavy:
        assert accepted(heavy) == 1
    assert child.stop() == 0
