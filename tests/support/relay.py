"""Between a sender and a server that comes and goes: each request is passed on to the server of that moment, one at a
time, but at some of them something happens.
"""

import http.client
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from uuid import uuid4

from tests.support.client import Response, ask_once, item
from tests.support.ledger import calls, pending, shut_gate
from tests.support.server import Child
from tests.support.waiting import HANG_SECONDS, eventually


class Request(NamedTuple):
    """What came."""

    path: str
    headers: Mapping[str, str]
    body: bytes


Happening = Callable[[Child, Request], Response | None]
"""What happens at a request, and its answer; None if the connection is closed without one."""

HOLDING = "holding"
"""A source with the processor `plain` that must be there for `draining`."""
FAULT = "fault"
LAUNCH = ("--faults", FAULT)
"""What a child is launched with for `full`; it runs in its own directory."""
BACKLOG_EVENTS = 100
BACKLOG = f"[queue]\nbacklog_events_max = {BACKLOG_EVENTS}\n"
"""What a child is configured with for `overloaded`: more than senders have under way."""
RETRY_SECONDS = "1"
"""What senders are told instead of the half minute that the server says: they would wait for it."""

_OF_ONE_CONNECTION = ("connection", "content-length", "date", "server", "transfer-encoding")


def passed_on(child: Child, request: Request) -> Response:
    """The server has it."""
    return ask_once(child.port, "POST", request.path, request.body, request.headers)


def killed_before(child: Child, _: Request) -> None:
    """The server is killed before the request comes, and started again."""
    child.kill()
    child.start()


def killed_after(child: Child, request: Request) -> None:
    """The server is killed when it has answered, before the sender hears of it, and started again."""
    passed_on(child, request)
    killed_before(child, request)


def stopped_before(child: Child, _: Request) -> None:
    """The server has drained and gone before the request comes, and another one is started."""
    assert child.stop() == 0
    child.start()


def overloaded(child: Child, request: Request) -> Response:
    """As many events are pending as the source `app` may have, for a child with BACKLOG and its processor `plain`;
    afterwards none is."""
    held = [{"type": "track", "messageId": f"held-{uuid4()}", "do": "hang"} for _ in range(BACKLOG_EVENTS)]
    with shut_gate(child):
        assert child.post("app", {"batch": held}).status == 200
        answer = passed_on(child, request)
    eventually(lambda: pending(child, "app") == 0)
    return answer


def draining(child: Child, request: Request) -> Response:
    """The server begins to drain when it has the head of the request, and answers; then there is another one."""
    with shut_gate(child), socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
        child.post(HOLDING, item("held", do="hang"))
        eventually(lambda: calls(child))
        sock.sendall(_head(request))
        assert sock.recv(4096).startswith(b"HTTP/1.1 100")  # so the head was read
        child.signal(signal.SIGTERM)
        child.wait_for_line("draining")
        sock.sendall(request.body)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        response = Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    assert child.wait() == 0
    child.start()
    return response


def full(child: Child, request: Request) -> Response:
    """The disk is full, for a child that was launched with LAUNCH."""
    fault = child.directory / FAULT
    fault.write_text("no space")
    answer = passed_on(child, request)
    fault.unlink()
    eventually(lambda: child.request("GET", "/readyz").status == 200)
    return answer


def _head(request: Request) -> bytes:
    headers = {**request.headers, "Expect": "100-continue"}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"POST {request.path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


class Relay:
    """Where it listens, and what it passed on."""

    def __init__(self, child: Child, happenings: Mapping[int, Happening]) -> None:
        """`happenings`: by the number of the request, from 1."""
        self.statuses: list[int | None] = []
        """What each request was answered with; None where it was not."""
        self.requests: list[Request] = []
        """What came, in the order of `statuses`."""
        self.errors: list[Exception] = []
        """What went wrong in a happening; the sender is told that its request is bad, which it does not send again."""
        self.url = ""
        self._child = child
        self._happenings = happenings
        self._turn = threading.Lock()

    def pass_on(self, request: Request) -> Response | None:
        """The answer; None if there is none."""
        with self._turn:
            happening = self._happenings.get(len(self.statuses) + 1, passed_on)
            try:
                answer = happening(self._child, request)
            except Exception as error:  # noqa: BLE001  # shown by the test
                self.errors.append(error)
                answer = Response(400, {}, b'{"code":"failed","message":"see the errors of the relay"}')
            self.requests.append(request)
            self.statuses.append(answer.status if answer else None)
            return answer

    def preflight(self, path: str, headers: Mapping[str, str]) -> Response:
        """The answer to a browser that asks before it sends, which counts for no request."""
        with self._turn:
            return ask_once(self._child.port, "OPTIONS", path, None, headers)


@contextmanager
def relaying(child: Child, happenings: Mapping[int, Happening]) -> Iterator[Relay]:
    """Relay within the block."""
    relay = Relay(child, happenings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"relay": relay}))
    relay.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    relay: Relay

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        answer = self.relay.pass_on(Request(self.path, dict(self.headers.items()), body))
        if answer is None:
            self.close_connection = True
            return
        self._write(answer)

    def do_OPTIONS(self) -> None:
        self._write(self.relay.preflight(self.path, dict(self.headers.items())))

    def _write(self, answer: Response) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name not in _OF_ONE_CONNECTION:
                self.send_header(name, RETRY_SECONDS if name == "retry-after" else value)
        if answer.status != 204:
            self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""
