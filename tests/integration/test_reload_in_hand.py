"""A reload while requests are on their way: each is judged by one configuration, and nothing is given away."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server.intake.claims import Message
from server.intake.schemes import SCHEMES
from tests.support.client import item
from tests.support.config import TOKEN, source
from tests.support.ledger import check_identity, pending
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

OTHER = source("other")
BACKLOG = 5
SLOWLY = 1e-6
"""Events a second: nothing comes back within a test."""


pytestmark = pytest.mark.xdist_group("reload")  # they share a server


class Begun:
    """A delivery whose head has been read, and whose body is still to come."""

    def __init__(self, child: Child, name: str, body: bytes, *headers: str) -> None:
        self._body = body
        self._sock = socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS)
        lines = [
            f"POST /ingest/inbound/{name} HTTP/1.1",
            "Host: localhost",
            f"Authorization: Bearer {TOKEN}",
            f"Content-Length: {len(body)}",
            "Expect: 100-continue",  # what comes back says that the head was read
            *headers,
        ]
        self._sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self._answer = self._sock.makefile("rb")
        assert self._answer.readline().startswith(b"HTTP/1.1 100 ")
        assert self._answer.readline() == b"\r\n"

    def end(self) -> tuple[int, dict[str, object]]:
        """Send the body; return the answer's status and body."""
        self._sock.sendall(self._body)
        status = int(self._answer.readline().split()[1])
        length = 0
        while (line := self._answer.readline()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return status, json.loads(self._answer.read(length))

    def close(self) -> None:
        self._answer.close()
        self._sock.close()


@contextmanager
def begun(child: Child, name: str, body: object, *headers: str) -> Iterator[Begun]:
    request = Begun(child, name, body if isinstance(body, bytes) else json.dumps(body).encode(), *headers)
    try:
        yield request
    finally:
        request.close()


@pytest.fixture(scope="module", params=[True, False], ids=["fast", "complete"])
def child(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One server with either front end; each test brings sources of its own by a reload."""
    with Children(tmp_path_factory.mktemp("reload")) as children:
        child = children(OTHER + f"[queue]\nbacklog_events_max = {BACKLOG}\n", fast=request.param)
        child.start()
        yield child


def reload(child: Child, *sources: str) -> None:
    child.write(OTHER + "".join(sources) + f"[queue]\nbacklog_events_max = {BACKLOG}\n")
    assert child.reload()[-1]["event"] == "reloaded"


def test_who_was_authenticated_stays_so(child: Child) -> None:
    """A body that began before its token was taken out is accepted; the next head with that token is refused."""
    reload(child, source("token"))
    with begun(child, "token", item("a")) as request:
        reload(child, source("token", tokens=["another-token"]))
        assert child.post("token", item("b")).status == 401
        assert request.end()[0] == 200
    assert child.admin("/receipts/token/a").status == 200


def test_a_source_removed_under_a_body(child: Child) -> None:
    """What was begun is accepted, counted, pending while its source is away, and goes on when it comes back."""
    removed = source("removed", processor="processors:plain")
    reload(child, removed)
    with begun(child, "removed", item("a")) as request:
        reload(child)
        assert child.post("removed", item("b")).status == 401
        assert request.end()[0] == 200
    assert pending(child, "removed") == 1
    check_identity(child)
    reload(child, removed)
    eventually(lambda: pending(child, "removed") == 0)


def test_the_body_is_read_as_its_head_was(child: Child) -> None:
    """Type, ids and signing secrets are those of the configuration that the token was checked by."""
    reload(child, source("read", signing_secrets=["old-secret"], missing_event_id="reject"))
    body = json.dumps(item("a")).encode()
    [(name, value)] = SCHEMES["convertmax"].sign(Message(body, b"old-secret", "", "", 0)).items()
    right, wrong = f"{name}: {value}", f"{name}: {'0' * 64}"
    with begun(child, "read", body, right) as signed, begun(child, "read", body, wrong) as unsigned:
        reload(child, source("read", type="segment", tokens=[TOKEN, "more"]))
        assert [signed.end()[0], unsigned.end()[0]] == [200, 401]
    assert child.admin("/events/read/a").json["source_type"] == "webhook"


LIMITED = {"rate_limit_events_per_second": SLOWLY, "rate_limit_burst_events": 1}


@pytest.mark.parametrize(
    ("name", "old", "new", "answer"),
    [
        ("dropping", {"over_limit": "drop"}, LIMITED, {"accepted": 1, "deferred": 1, "dropped": 0}),
        ("lifted", {**LIMITED, "over_limit": "drop"}, {}, {"accepted": 2, "deferred": 0, "dropped": 0}),
        ("observing", {"over_limit": "observe"}, LIMITED, {"accepted": 1, "deferred": 1, "dropped": 0}),
    ],
)
def test_a_limit_is_one_configuration(
    child: Child, name: str, old: dict[str, object], new: dict[str, object], answer: dict[str, int]
) -> None:
    """Rate and mode of one limit are never mixed: no event is dropped by a mode that had no limit then."""
    reload(child, source(name, **old))
    with begun(child, name, [item("a"), item("b")]) as request:
        reload(child, source(name, **new))
        status, said = request.end()
    assert status == 200
    assert {key: said[key] for key in answer} == answer


BURST = {"rate_limit_events_per_second": SLOWLY, "rate_limit_burst_events": 3, "over_limit": "drop"}
MEANWHILE = {
    "the same": source("bucket", **BURST),
    "paused": source("bucket", **BURST, paused=True),
    "away": "",
    "less": source("bucket", **BURST | {"rate_limit_burst_events": 1}),
    "more": source("bucket", **BURST | {"rate_limit_events_per_second": 2 * SLOWLY, "rate_limit_burst_events": 4}),
    "unlimited": source("bucket"),
}


def test_no_reload_fills_a_bucket(child: Child) -> None:
    """Neither a reload, nor a pause, a larger, smaller or no limit for a while, nor a source that was away."""
    reload(child, source("bucket", **BURST))
    assert child.post("bucket", [item(f"first-{n}") for n in range(3)]).json["accepted"] == 3
    for name, meanwhile in MEANWHILE.items():
        before = child.metrics()
        reload(child, meanwhile)
        reload(child, source("bucket", **BURST))
        after = child.metrics()
        assert [each for each, value in before.items() if "_total" in each and after[each] < value] == []
        assert child.post("bucket", item(name)).json["dropped"] == 1, name


def test_no_reload_forgets_a_backlog(child: Child) -> None:
    """A source that is full stays so after any reload, and after it was away."""
    full = source("full", processor="processors:plain", paused=True)
    reload(child, full)
    assert child.post("full", [item(str(number)) for number in range(BACKLOG)]).status == 200
    for meanwhile in (full, ""):
        reload(child, meanwhile)
        reload(child, full)
        answer = child.post("full", item("more"))
        assert (answer.status, answer.json["code"]) == (503, "overloaded")
    assert pending(child, "full") == BACKLOG
