"""The fast lane and the complete front end give the same answers and leave the same in the store."""

import base64
import gzip
import itertools
import json
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.write.recovery import recover
from tests.support.config import TOKEN
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS

pytestmark = pytest.mark.xdist_group("front ends")  # one server for all of them

CONFIG = f"""
[limits]
body_bytes_max = 2000
batch_events_max = 20
[sources.hook]
type = "webhook"
tokens = ["{TOKEN}"]
[sources.app]
type = "segment"
tokens = ["{TOKEN}"]
cors_origins = ["https://a.example"]
[sources.slow]
type = "webhook"
tokens = ["{TOKEN}"]
rate_limit_events_per_second = 0.0001
rate_limit_burst_events = 3
over_limit = "drop"
[sources.graph]
type = "webhook"
tokens = []
signing_secrets = ["a-client-state"]
signature = "microsoft-graph"
"""

HOSTILE = (
    b"POST /ingest/inbound/hook HTTP/1.1\nHost: a\n\n",
    b"POST /ingest/inbound/hook HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    b"POST /ingest/inbound/hook HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
    b"POST /ingest/inbound/hook HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    b"POST /ingest/inbound/hook HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST http://a/ingest/inbound/hook HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST http:///ingest/inbound/hook HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST http://a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/livez HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/livez HTTP/1.0\r\n\r\n",
    b"POST /ingest/inbound/hook HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 17000 + b"\r\n\r\n",
    b"POST /ingest/inbound/ho%6fk HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /ingest/inbound/hook HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /ingest/inbound/hook\r\n\r\n",
    b"GET /ingest/inbound/hook HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /v1/batch/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /v1/t HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    b"POST http://a/v1/b?writeKey=b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST /v1/b HTTP/1.1\r\nHost: a\r\nAuthorization:\r\nContent-Length: 2\r\n\r\n{}",
    b"OPTIONS /v1/b HTTP/1.1\r\nHost: a\r\nOrigin: https://b.example\r\n\r\n",
    b"POST /ingest/inbound/graph?validationToken=a%3A+b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST http://a/ingest/inbound/graph?validationToken=a HTTP/1.0\r\nContent-Type: text/plain\r\n\r\n",
    b"POST /ingest/inbound/graph?validationToken=a%0D%0AX:%20b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /ingest/inbound/hook?validationToken=a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"GET /ingest/inbound/graph?validationToken=a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\n\r\n",
    b"\x16\x03\x01",
    b"POST /ing",
    b"POST /beacon/v",
)

DELIVERY = re.compile(rb'"delivery":"[0-9a-z]{13}-[a-z2-7]{6}"')
DATE = re.compile(rb"\r\ndate: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT")
LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)")
BAD_HEAD = re.compile(rb"(?<=HTTP/1.1 )4[^\r]*|(?<=content-length: )[0-9]+")


def head(source: str, *lines: str, token: str = TOKEN) -> bytes:
    first = f"POST /ingest/inbound/{source} HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer {token}\r\n"
    return (first + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()


def sized(source: str, body: bytes, *lines: str, token: str = TOKEN) -> bytes:
    return head(source, f"Content-Length: {len(body)}", *lines, token=token) + body


authorities = st.sampled_from(
    ["http://gate", "HTTPS://u:p@[::1]:80", "http://", "http://a b", "ftp://gate", "http://["]
)


def absolute(start: str, request: bytes) -> bytes:
    """The request with its target in absolute form."""
    return request.replace(b"POST /", f"POST {start}/".encode(), 1)


@st.composite
def chunked(draw: st.DrawFn, source: str, body: bytes) -> bytes:
    """The body in chunks of any sizes, perhaps with extensions and trailers."""
    cuts = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=4))})
    extension = draw(st.sampled_from([b"", b";a=b", b" ", b";" + b"x" * 1100, b";" + b"x" * 20_000]))
    zeros = b"0" * draw(st.sampled_from([0, 0, 0, 12, 16, 19, 30]))
    pieces = [body[start:end] for start, end in itertools.pairwise(cuts)]
    chunks = b"".join(b"%b%x%b\r\n%b\r\n" % (zeros, len(piece), extension, piece) for piece in pieces)
    line = b"X-Sum: %b\r\n" % (b"1" * draw(st.sampled_from([1, 500, 1100])))
    trailer = line * draw(st.sampled_from([0, 1, 40]))
    return head(source, "Transfer-Encoding: chunked") + chunks + b"0\r\n" + trailer + b"\r\n"


NUMBERS = itertools.count()


def webhook(number: int) -> bytes:
    return json.dumps({"inbound_event_id": f"event-{number}", "payload": {"n": number}}).encode()


def batch(number: int, count: int) -> bytes:
    items: list[Any] = [{"type": "track", "messageId": f"m-{number}-{at}", "event": "e"} for at in range(count)]
    return json.dumps({"batch": [*items, 7], "sentAt": "2026-01-01T00:00:00Z"}).encode()


SDK_PATHS = ("/v1/batch", "/v1/t", "/v1/page/", "/beacon/v1/batch")
SDK_PLACES = ("", "", "/ingest/inbound/app", "/ingest/inbound/hook", "/ingest/inbound/nobody")
ORIGINS = ("", "", "Origin: https://a.example", "Origin: https://b.example")


@st.composite
def of_an_sdk(draw: st.DrawFn) -> bytes:
    """A request by a route of SDKs, its key somewhere and perhaps wrong, perhaps of a page."""
    number, key = draw(st.integers(0, 50)), draw(st.sampled_from([TOKEN, TOKEN, "wrong"]))
    target = draw(st.sampled_from(SDK_PLACES)) + draw(st.sampled_from(SDK_PATHS))
    lines = ["Host: gate", *filter(None, [draw(st.sampled_from(ORIGINS))])]
    body = json.loads(batch(number, number % 15)) if draw(st.booleans()) else {"messageId": f"m-{number}"}
    place = draw(st.sampled_from(["basic", "query", "body", "items", "nowhere"]))
    if place == "basic":
        lines.append(f"Authorization: Basic {base64.b64encode(f'{key}:'.encode()).decode()}")
    elif place == "query":
        target += f"?writeKey={key}"
    elif place != "nowhere":
        for each in (body, *(body.get("batch", ()) if place == "items" else ())):
            if isinstance(each, dict):
                each["writeKey"] = key
    data = draw(st.sampled_from([json.dumps(body).encode(), b"{", b" " * 2001]))
    method = draw(st.sampled_from(["POST", "POST", "POST", "OPTIONS", "GET"]))
    if draw(st.booleans()):
        data = gzip.compress(data, mtime=0)
        lines.append("Content-Encoding: gzip")
    lines.append(f"Content-Length: {len(data)}")
    return f"{method} {target} HTTP/1.1\r\n".encode() + "\r\n".join([*lines, "", ""]).encode() + data


def notification(state: str, item: bytes) -> bytes:
    """One of Microsoft Graph's, beside something that need not be an item."""
    body = b'{"value":[{"clientState":"%b","id":"e","changeType":"created","n":%b}]}' % (state.encode(), item)
    return sized("graph", body)


@st.composite
def a_request(draw: st.DrawFn) -> bytes:
    """A good one, or one that is refused for a reason of its own."""
    number = draw(st.integers(0, 50))
    body = draw(st.sampled_from([webhook(number), b"[" + webhook(number) + b"," + webhook(number + 1) + b"]"]))
    made: bytes = draw(
        st.one_of(
            st.just(sized("hook", body)),
            chunked("hook", body),
            st.just(sized("app", batch(number, number % 25))),
            chunked("app", batch(number, number % 15)),
            st.just(sized("slow", body)),
            st.just(sized("hook", gzip.compress(body, mtime=0), "Content-Encoding: gzip")),
            st.just(sized("hook", body, "webhook-id: w-1", "X-Kept: yes", "Connection: close")),
            st.just(sized("hook", body, "Connection: keep-alive, Close")),
            st.builds(lambda start: absolute(start, sized("hook", body)), authorities),
            st.just(absolute("http://a", sized("app", batch(number, 2)))),
            st.just(sized("hook", b"\xef\xbb\xbf" + body, "Content-Encoding: utf-8")),
            st.just(sized("hook", body.replace(b"event-", rb"\ud83d"))),
            st.just(sized("hook", body.replace(b'"n"', rb'"\uDE00"'))),
            st.just(sized("hook", body, "Expect: 100-continue")),
            st.just(sized("app", batch(number, 2), "Expect: something, 100-continue")),
            st.just(sized("hook", body, token="wrong")),
            st.just(sized("nobody", body)),
            st.just(sized("hook", body[:-1])),
            st.just(sized("hook", b"a=b", "Content-Type: application/x-www-form-urlencoded")),
            st.just(sized("hook", b" " * 2001)),
            st.just(sized("hook", b"")),
            st.just(sized("hook", body)[:-5]),
            of_an_sdk(),
            of_an_sdk(),
            of_an_sdk(),
            st.builds(
                notification, st.sampled_from(["a-client-state", "a-client-stat\\u0065", "another"]), st.just(body)
            ),
            st.sampled_from(HOSTILE),
        )
    )
    return made


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """What a client sends on one connection, in the pieces in which it sends it: perhaps with a byte changed."""
    data = b"".join(draw(st.lists(a_request(), min_size=1, max_size=3)))
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, min(len(data), 400) - 1))
        data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=3))})
    return [data[start:end] for start, end in itertools.pairwise(cuts)]


def talk(port: int, pieces: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Return head and body of each answer, byte for byte, but for its second and its delivery's id."""
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # answered and closed before all was sent
        received = b"".join(iter(lambda: sock.recv(65536), b""))
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        received = rest
        if not head.startswith(b"HTTP/1.1 100 "):  # whether the body is there already is a matter of time
            found = LENGTH.search(head)
            length = int(found[1]) if found else 0
            assert found or head.startswith(b"HTTP/1.1 204 ")
            head, dates = DATE.subn(b"\r\ndate: now", head)
            assert dates == 1
            answers.append((head, DELIVERY.sub(b'"delivery":"id"', rest[:length])))
            received = rest[length:]
    return answers


def one_fault(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return the answer; for each bad head the same: which fault is seen first may depend on how its bytes came in."""
    is_bad_head = body.startswith((b'{"code":"invalid_request"', b'{"code":"headers_too_large"'))
    return (BAD_HEAD.sub(b"", head), b"a bad head") if is_bad_head else (head, body)


def kept(child: Child) -> list[Any]:
    """What the store counts of each source, but for what depends on how far the consumers came."""
    recover(child.store)
    store = Store.open(child.store, mode="read")
    try:
        reader = Reader(store)
        totals = sorted(reader.totals().items())
        return [(source_id, each.received, each.dropped) for source_id, each in totals]
    finally:
        store.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Child, Child]]:
    """The same server twice, with either front end."""
    with Children(Path(tmp_path_factory.mktemp("front-ends"))) as children:
        made = [children(CONFIG, fast=fast) for fast in (True, False)]
        for child in made:
            child.start()
        yield made[0], made[1]


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pieces=conversations())
def test_both_front_ends_answer_alike(pair: tuple[Child, Child], pieces: list[bytes]) -> None:
    """Whatever comes, in whatever pieces, both say the same: status lines, headers and bodies, byte for byte."""
    fast, complete = pair
    said, expected = talk(fast.port, pieces), talk(complete.port, pieces)
    assert list(itertools.starmap(one_fault, said)) == list(itertools.starmap(one_fault, expected))


@pytest.mark.parametrize("request_bytes", HOSTILE, ids=range(len(HOSTILE)))
def test_same_words_for_a_hostile_request(pair: tuple[Child, Child], request_bytes: bytes) -> None:
    """What comes in one piece is refused for the same fault, with the same words."""
    fast, complete = pair
    assert talk(fast.port, [request_bytes]) == talk(complete.port, [request_bytes])


def test_both_front_ends_store_alike(pair: tuple[Child, Child]) -> None:
    """After all that, both have received and dropped the same."""
    fast, complete = pair
    for child in pair:
        assert child.stop() == 0
    assert kept(fast) == kept(complete)
    for child in pair:
        assert child.errors == []
