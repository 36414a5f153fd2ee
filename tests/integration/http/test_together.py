"""Requests on many connections at once, which go in together: each has its own answer, and all limits hold."""

import gzip
import http.client
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from tests.support.client import item
from tests.support.config import TOKEN, source
from tests.support.ledger import check_identity, pending, statuses, totals
from tests.support.server import Children
from tests.support.waiting import eventually

CONNECTIONS = 60
NEVER = 0.001
"""Events a second: in the time of a test no token comes."""

Sent = tuple[str, bytes, dict[str, str]]
"""A source, a body, and headers of its own."""


@contextmanager
def connected(port: int, count: int = CONNECTIONS) -> Iterator[list[http.client.HTTPConnection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", port))) for _ in range(count)]


def exchange(connections: Sequence[http.client.HTTPConnection], requests: Sequence[Sent]) -> list[tuple[int, Any]]:
    """All requests are sent, one on each connection, before the first answer is read."""
    for connection, (name, body, headers) in zip(connections, requests, strict=False):
        own = {"Authorization": f"Bearer {TOKEN}", **headers}
        connection.request("POST", f"/ingest/inbound/{name}", body, own)
    answers = []
    for connection, _ in zip(connections, requests, strict=False):
        response = connection.getresponse()
        answers.append((response.status, json.loads(response.read())))
    return answers


def single(event_id: str, **headers: str) -> Sent:
    return "demo", json.dumps(item(event_id)).encode(), headers


def test_each_answer_names_its_own_delivery(children: Children) -> None:
    """Also with others in between that are refused, packed, batches, or without an id."""
    child = children(source("demo"))
    child.start()
    with connected(child.port) as connections:
        exchange(connections, [single(f"first-{at}") for at in range(CONNECTIONS)])
        for turn in range(3):
            requests = [single(f"{turn}-{at}") for at in range(CONNECTIONS)]
            requests[3] = ("demo", b"{broken", {})
            requests[9] = ("demo", gzip.compress(requests[9][1]), {"Content-Encoding": "gzip"})
            requests[14] = ("demo", json.dumps([item(f"{turn}-14"), item(f"{turn}-14-b")]).encode(), {})
            requests[21] = ("demo", b'{"payload":1}', {})
            requests[22] = ("demo", b'{"payload":1}', {"Webhook-Id": f"{turn}-22"})
            answers = exchange(connections, requests)
            assert [status for status, _ in answers] == [400 if at == 3 else 200 for at in range(CONNECTIONS)]
            for at, (status, answer) in enumerate(answers):
                if status == 200:
                    [first, *_] = child.admin(f"/deliveries/{answer['delivery']}").json["items"]
                    expected = f"{answer['delivery']}-0" if at == 21 else f"{turn}-{at}"
                    assert first["inbound_event_id"] == expected
                else:
                    connections[at].close()
    eventually(lambda: pending(child, "demo") == 0)
    check_identity(child)
    assert child.stop() == 0
    assert totals(child)["demo"]["received"] == CONNECTIONS + 3 * CONNECTIONS


@pytest.mark.parametrize("mode", ["defer", "drop", "observe"])
def test_no_token_is_given_twice(children: Children, mode: str) -> None:
    """With tokens for some of those that come at once, exactly so many go on."""
    rate = {"rate_limit_events_per_second": NEVER, "rate_limit_burst_events": 85, "over_limit": mode}
    child = children(source("demo", **rate))
    child.start()
    with connected(child.port) as connections:
        answers = exchange(connections, [single(f"first-{at}") for at in range(CONNECTIONS)])
        answers += exchange(connections, [single(f"second-{at}") for at in range(CONNECTIONS)])
    said = Counter(key for _, answer in answers for key in ("accepted", "deferred", "dropped") if answer[key])
    over = 2 * CONNECTIONS - 85
    expected = {"observe": {"accepted": 2 * CONNECTIONS}, "defer": {"deferred": over}, "drop": {"dropped": over}}[mode]
    assert said == {"accepted": 85} | expected
    assert child.metrics()['tidegate_events_over_limit_total{source="demo"}'] == over
    assert child.stop() == 0


def test_one_id_on_many_connections_is_processed_once(children: Children) -> None:
    """Without a processor and with one; the others are duplicates of that one."""
    child = children(source("demo") + source("worked", processor="processors:plain"))
    child.start()
    with connected(child.port) as connections:
        for name in ("demo", "worked"):
            same: list[Sent] = [(name, json.dumps(item("same")).encode(), {}) for _ in range(CONNECTIONS)]
            for _ in range(2):
                assert {status for status, _ in exchange(connections, same)} == {200}
    eventually(lambda: pending(child, "demo") + pending(child, "worked") == 0)
    assert child.stop() == 0
    for name in ("demo", "worked"):
        assert Counter(statuses(child, name, "same")) == {"processed": 1, "duplicate": 2 * CONNECTIONS - 1}


def test_our_fault_in_one_request_is_contained(children: Children) -> None:
    """Only the connection that it is about is closed; all others are answered, and the server serves on."""
    child = children(source("demo"), launch=("--broken-intake",))
    child.start()
    with connected(child.port) as connections:
        exchange(connections, [single(f"first-{at}") for at in range(CONNECTIONS)])
        faulty, *others = connections
        requests = [single(f"second-{at}") for at in range(len(others))]
        faulty.request("POST", "/ingest/inbound/demo", b'{"fault":1}', {"Authorization": f"Bearer {TOKEN}"})
        assert {status for status, _ in exchange(others, requests)} == {200}
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            faulty.getresponse()
        assert {status for status, _ in exchange(others, [single("third")] * len(others))} == {200}
    eventually(lambda: pending(child, "demo") == 0)
    assert child.stop() == 0


def test_an_idle_connection_keeps_no_body(children: Children) -> None:
    """Connections that sent large bodies in one piece, one after the other, cost no more than before."""
    count, size = 300, 60_000
    child = children(source("demo"))
    child.start()
    with connected(child.port, count) as connections:
        requests: list[Sent] = [("demo", json.dumps(item(str(at))).encode(), {}) for at in range(count)]
        exchange(connections, requests)
        before = child.memory_bytes()
        for connection, (name, body, _) in zip(connections, requests, strict=True):
            exchange([connection], [(name, body.ljust(size), {})])
        assert child.memory_bytes() - before < count * size / 2
    assert child.stop() == 0


def test_small_limits_of_a_body_hold(children: Children) -> None:
    """Also below the size up to which bodies go together, and whichever comes first."""
    child = children(source("demo") + "[limits]\nbody_bytes_max = 100\ndecoded_bytes_max = 100\n")
    child.start()
    with connected(child.port, 1) as connections:
        for size, status in ((100, 200), (100, 200), (101, 413)):
            body = b'{"inbound_event_id":"a"}'.ljust(size)
            assert exchange(connections, [("demo", body, {})])[0][0] == status
    assert child.stop() == 0


def test_a_full_backlog_takes_exactly_its_bound(children: Children) -> None:
    """Requests that would go over it together are taken one by one, until it is full."""
    child = children(source("demo", rate_limit_events_per_second=NEVER) + "[queue]\nbacklog_events_max = 70\n")
    child.start()
    with connected(child.port) as connections:
        answers = exchange(connections, [single(f"first-{at}") for at in range(CONNECTIONS)])
        answers += exchange(connections, [single(f"second-{at}") for at in range(CONNECTIONS)])
    statuses = Counter(status for status, _ in answers)
    assert statuses[503] == 2 * CONNECTIONS - statuses[200]
    assert 70 <= statuses[200] <= 71  # the first had its token
    assert child.stop() == 0
