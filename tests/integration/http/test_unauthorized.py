"""A refused sender learns nothing from how it is refused: not which of source, token and signature was wrong."""

import re
import socket

import pytest

from tests.support.config import TOKEN, source
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS

SIGNED = source("signed", signing_secrets=["a-secret-of-the-tests"])


def whole_answer(child: Child, source_id: str, token: str) -> bytes:
    """All bytes until the server closes, its clock aside."""
    request = (
        f"POST /ingest/inbound/{source_id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        f"x-convertmax-signature: {'0' * 64}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
    with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(request.encode())
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return re.sub(rb"(?i)\r\ndate: [^\r]*", b"", answer)


@pytest.mark.parametrize("fast", [True, False])
def test_wrong_signature_and_token_look_alike(children: Children, fast: bool) -> None:
    """The same bytes, then the end: with a right token the connection had been kept, which told that it was right."""
    child = children(SIGNED, fast=fast)
    child.start()
    answers = {
        whole_answer(child, "signed", TOKEN),
        whole_answer(child, "signed", "another"),
        whole_answer(child, "nowhere", TOKEN),
    }
    (answer,) = answers
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer.lower()
    assert answer.count(b"\r\nwww-authenticate: Bearer\r\n") == 1


def test_malformed_admin_requests_are_not_traffic(children: Children) -> None:
    """`tidegate_requests_total` counts the public side alone, what no application saw included."""
    child = children(SIGNED)
    child.start()
    for port in (child.admin_port, child.port, child.admin_port):
        with socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS) as sock:
            sock.sendall(b"\x16\x03\x01\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 400 ")
    metrics = child.metrics().items()
    counted = {name: value for name, value in metrics if value and name.startswith("tidegate_requests_total")}
    assert counted == {'tidegate_requests_total{code="invalid_request",status="400"}': 1}
