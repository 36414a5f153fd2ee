"""The routes that the SDKs of Segment and RudderStack add to their address, on the running server."""

import base64
import gzip
import json
import re
import socket
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any

import pytest

from server.base.refusal import SDK_LATER, SDK_RETRY_SECONDS, STATUS, refuse
from server.http.frontend import Denial
from server.intake.intake import UNKNOWN_BODY_BYTES_MAX, DeliveryHead
from server.intake.routes import SDK_ROUTES
from tests.support.client import Response, ask, connected, request
from tests.support.config import TOKEN, source
from tests.support.http_server import TOKEN as FAKE_TOKEN
from tests.support.http_server import FakeEntry, FakeGate, SomeLimits, serving
from tests.support.ledger import pending, totals
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

KEY = "app-write-key"
OTHER_KEY = "web-write-key"
APP = source("app", type="segment", tokens=[KEY])
SOURCES = APP + source("web", type="segment", tokens=[OTHER_KEY, TOKEN]) + source("hook", tokens=[TOKEN])
BELOW = "/ingest/inbound/app"


def basic(key: str, password: str = "") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{key}:{password}'.encode()).decode()}"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def post(child: Child, path: str, body: object, headers: Mapping[str, str] | None = None) -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return child.request("POST", path, data, headers or {})


def track(message_id: str, **keys: object) -> dict[str, object]:
    return {"type": "track", "messageId": message_id, "event": "Signed Up", **keys}


def event(child: Child, event_id: str, source_id: str = "app") -> dict[str, Any]:
    eventually(lambda: pending(child, source_id) == 0)
    found: dict[str, Any] = child.admin(f"/events/{source_id}/{event_id}").json
    return found


def whole_answer(child: Child, sent: bytes) -> bytes:
    """All bytes until the server closes, its clock aside."""
    with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(sent)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return re.sub(rb"(?i)\r\ndate: [^\r]*", b"", answer)


@pytest.mark.parametrize("place", ["", BELOW])
def test_every_route_takes_an_event(children: Children, place: str) -> None:
    """Each route takes an event, at the root and below the source; the type is the event's own, or its route's."""
    child = children(SOURCES)
    child.start()
    for number, (suffix, route) in enumerate(SDK_ROUTES.items()):
        for slash in ("", "/"):
            said: dict[str, object] = {"messageId": f"{number}{slash}", "type": None if route.type else "alias"}
            answer = post(child, f"{place}{suffix}{slash}", said, basic(KEY))
            assert (answer.status, answer.json["accepted"], answer.json["success"]) == (200, 1, True), suffix
        found = event(child, str(number))
        assert found["event_type"] == found["payload"]["type"] == (route.type or "alias")
        own = post(child, place + suffix, {"messageId": f"own-{number}", "type": "page"}, bearer(KEY))
        assert own.status == 200
        assert event(child, f"own-{number}")["event_type"] == "page"


FOUND: Sequence[tuple[str, Mapping[str, str], str | None, str | None]] = [
    ("", basic(KEY), "wrong", "wrong"),
    ("", bearer(KEY), "wrong", "wrong"),
    ("?writeKey=wrong", basic(KEY), None, None),
    (f"?writeKey={KEY}", {}, "wrong", "wrong"),
    ("", {}, KEY, "wrong"),
    ("?other=1", {}, KEY, None),
    ("", {}, None, KEY),
]
"""Queries, headers, and keys of a body and of its items, by which the source is found."""


@pytest.mark.parametrize("place", ["", BELOW])
def test_a_key_is_found_in_its_place(children: Children, place: str) -> None:
    """The header decides, else the query, else the body, else its first item; the key is in no event."""
    child = children(SOURCES)
    child.start()
    for number, (query, headers, top, item) in enumerate(FOUND):
        names = [f"m-{number}-{each}" for each in "ab"]
        body = {"writeKey": top, "batch": [track(name, writeKey=item) for name in names], "sentAt": "2026"}
        answer = post(child, f"{place}/v1/batch{query}", body, headers)
        assert (answer.status, answer.json["accepted"]) == (200, 2), number
        for name in names:
            found = event(child, name)
            assert (found["payload"], found["meta"]["sent_at"]) == (track(name), "2026")


WRONG: Sequence[tuple[str, Mapping[str, str], object]] = [
    ("", {}, None),
    ("", {}, ""),
    ("", {}, 7),
    ("", {}, "wrong"),
    ("?writeKey=wrong", {}, KEY),
    (f"?writeKey={KEY}&writeKey={KEY}", {}, KEY),
    ("?writeKey=", {}, KEY),
    (f"?writeKey={KEY}", basic("wrong"), KEY),
    (f"?writeKey={KEY}", {"Authorization": ""}, KEY),
    ("", basic(KEY, "password"), KEY),
    ("", {"Authorization": "Basic !"}, KEY),
    ("", {"Authorization": f"Digest {KEY}"}, KEY),
    ("", bearer(TOKEN), KEY),
]
"""Queries, headers and keys of a body by which no source is found."""


@pytest.mark.parametrize("place", ["", BELOW])
def test_a_wrong_key_is_refused(children: Children, place: str) -> None:
    """A wrong key in the first place that has one is 401, whatever is in the others; nothing is kept."""
    child = children(APP)
    child.start()
    for query, headers, key in WRONG:
        answer = post(child, f"{place}/v1/t{query}", track("m-1", writeKey=key), headers)
        assert (answer.status, answer.json["code"]) == (401, "unauthorized"), (query, headers, key)
        assert answer.headers["connection"] == "close"
    assert totals(child) == {}


def test_refused_keys_all_look_alike(children: Children) -> None:
    """A wrong key, an unknown source and one of another type are refused by the same bytes, wherever the key is."""
    child = children(SOURCES)
    child.start()
    answers = set()
    for place in ("", BELOW, "/ingest/inbound/nobody", "/ingest/inbound/hook"):
        for key in ("wrong", TOKEN if place != "" else "wrong"):
            body = json.dumps(track("m-1", writeKey=key)).encode()
            for lines in (["Authorization: Bearer " + key], [f"Authorization: {basic(key)['Authorization']}"], []):
                answers.add(whole_answer(child, request("POST", f"{place}/v1/track", *lines, body=body)))
            answers.add(whole_answer(child, request("POST", f"{place}/v1/track?writeKey={key}", body=body)))
    answers.add(whole_answer(child, request("POST", BELOW, "Authorization: Bearer wrong", body=b"{}")))
    [answer] = answers
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert totals(child) == {}


def test_basic_is_for_segment_sources(children: Children) -> None:
    """A source of type segment takes its key by Basic on its own route too; a webhook source does not."""
    child = children(SOURCES)
    child.start()
    assert post(child, BELOW, track("m-1"), basic(KEY)).status == 200
    assert post(child, "/ingest/inbound/hook", {}, bearer(TOKEN)).status == 200
    assert post(child, "/ingest/inbound/hook", {}, basic(TOKEN)).status == 401
    assert post(child, BELOW, track("m-2", writeKey=KEY), {}).status == 401


def test_a_shared_key_finds_no_source(children: Children) -> None:
    """At the root a token that two sources of type segment have finds neither; check and the start say so."""
    both = source("one", type="segment", tokens=[KEY, "of-one"]) + source("two", type="segment", tokens=[KEY])
    child = children(both)
    child.start()
    assert "sources.one, two: have a token in common" in str(child.lines_of("probably not meant"))
    assert "sources.one, two: have a token in common" in child.cli("check").stderr
    assert post(child, "/v1/batch", track("m-1"), basic(KEY)).status == 401
    assert post(child, "/v1/batch", track("m-1", writeKey=KEY)).status == 401
    assert post(child, "/v1/batch", track("m-1"), basic("of-one")).status == 200
    assert post(child, "/ingest/inbound/two/v1/batch", track("m-1"), basic(KEY)).status == 200


def test_content_types_are_not_looked_at(children: Children) -> None:
    """JSON counts, whatever its Content-Type says; what is no JSON is 400 and not 415."""
    child = children(SOURCES)
    child.start()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "?"):
        for headers in ({}, basic(KEY)):
            sent = {"Content-Type": kind, **headers}
            assert post(child, "/v1/b", track("m-1", writeKey=KEY), sent).status == 200
            answer = post(child, "/v1/b", b"a=b", sent)
            assert (answer.status, answer.json["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("has_header", [True, False])
def test_gzip_in_chunks_is_taken(children: Children, has_header: bool) -> None:
    """A gzipped body in chunks is read, with its key inside or in the head."""
    child = children(SOURCES)
    child.start()
    body = gzip.compress(json.dumps({"batch": [track(f"m-{n}") for n in range(500)], "writeKey": KEY}).encode())
    lines = ["Content-Encoding: gzip", "Transfer-Encoding: chunked", "Connection: close"]
    if has_header:
        lines.append(f"Authorization: {basic(KEY)['Authorization']}")
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:100], body[100:]))
    answer = whole_answer(child, request("POST", "/v1/b", *lines) + chunks + b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"accepted":500' in answer
    assert KEY not in json.dumps(event(child, "m-499"))


def test_the_first_item_tells_when_sent(children: Children) -> None:
    """Without a time of its own a batch was sent when its first item says."""
    child = children(SOURCES)
    child.start()
    items = [track("m-1", sentAt="2026-01-02T03:04:05Z"), track("m-2")]
    for name, body in (("m-1", {"batch": items}), ("m-3", track("m-3", sentAt="2026"))):
        assert post(child, "/v1/batch", body, basic(KEY)).status == 200
        assert event(child, name)["meta"]["sent_at"].startswith("2026")


def test_some_rejected_items_are_a_200(children: Children) -> None:
    """Where something is kept the answer is 200, though other items were rejected; where nothing is, 400."""
    child = children(SOURCES)
    child.start()
    answer = post(child, "/v1/batch", {"batch": [track("m-1"), {"type": "odd"}]}, basic(KEY))
    assert (answer.status, answer.json["accepted"], len(answer.json["rejected"])) == (200, 1, 1)
    answer = post(child, "/v1/batch", {"batch": [{"type": "odd"}], "writeKey": KEY})
    assert (answer.status, answer.json["code"]) == (400, "invalid_event")


def test_a_full_backlog_is_429(children: Children) -> None:
    """What is 503 elsewhere is 429 on the routes of SDKs, with a Retry-After that they wait for."""
    child = children("[queue]\nbacklog_events_max = 1\n" + APP.replace("\n", "\npaused = true\n", 1))
    child.start()
    assert post(child, "/v1/t", track("m-1"), basic(KEY)).status == 200
    for body, headers in ((track("m-2"), basic(KEY)), (track("m-2", writeKey=KEY), {})):
        answer = post(child, "/v1/t", body, headers)
        assert (answer.status, answer.json["code"]) == (429, "overloaded")
        assert answer.headers["retry-after"] == str(SDK_RETRY_SECONDS)
    assert post(child, BELOW, track("m-2"), basic(KEY)).status == 503
    assert child.metrics()['tidegate_requests_total{code="overloaded",status="429"}'] == 2


class RefusingGate(FakeGate):
    """Refuses with this code, at the head or with the body."""

    def __init__(self, code: str, *, at_head: bool) -> None:
        super().__init__()
        self.refusal = refuse(code, "as the test says")
        self.at_head = at_head

    def enter(self, head: DeliveryHead) -> FakeEntry | Denial:
        return Denial(self.refusal) if self.at_head else FakeEntry(self)


@pytest.mark.parametrize("code", ["overloaded", "storage_full", "storage_failed", "draining", "starting", "too_large"])
async def test_refusals_at_the_head_are_429(code: str) -> None:
    """Each refusal that a retry helps against is 429 there, and what it was on the source's own route."""
    async with serving(gate=RefusingGate(code, at_head=True)) as server:
        for target, status in (("/v1/b", 429 if code in SDK_LATER else STATUS[code]), (BELOW, STATUS[code])):
            reply = await ask(server.port, request("POST", target, FAKE_TOKEN, body=b"{}"))
            assert (reply.status, reply.code) == (status, code)
            assert reply.headers.get("retry-after") == {429: "30", 503: "5"}.get(status)


async def test_a_slow_body_is_429() -> None:
    """A body that does not come in time is 429 and not 408."""
    async with serving(SomeLimits(body_timeout_seconds=0.01)) as server, connected(server.port) as raw:
        await raw.send(request("POST", "/v1/b", FAKE_TOKEN, "Content-Length: 2"))
        [reply] = await raw.replies_until_close()
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (429, "timeout", "30")


async def test_a_refused_request_is_logged_by_its_route() -> None:
    """The log has the route, without slash and query, and no key."""
    async with serving() as server:
        for target in ("/v1/b/?writeKey=k", BELOW + "/v1/batch"):
            assert (
                await ask(server.port, request("POST", target, "Authorization: Bearer x", body=b"{}"))
            ).status == 401
        assert [line.path for line in server.lines] == ["/v1/b", BELOW + "/v1/batch"]


def test_bodies_with_their_key_are_small(children: Children) -> None:
    """A body that has to be read for its key is limited, decoded too; by its source's limit where that is lower."""
    low = source("low", type="segment", tokens=["low-key"], body_bytes_max=300, decoded_bytes_max=400)
    child = children(SOURCES + low)
    child.start()
    large = track("m-1", text="x" * UNKNOWN_BODY_BYTES_MAX)
    for place in ("", BELOW, "/ingest/inbound/nobody"):
        for headers in ({}, {"Content-Encoding": "gzip"}):
            data = json.dumps(large | {"writeKey": KEY}).encode()
            answer = post(child, f"{place}/v1/t", gzip.compress(data) if headers else data, headers)
            assert (answer.status, answer.json["code"]) == (413, "too_large")
    for size, coding, status in ((100, None, 200), (300, None, 413), (100, "gzip", 200), (400, "gzip", 413)):
        data = json.dumps(track("m-1", text="x" * size)).encode()
        with_key = json.dumps(track("m-1", text="x" * size, writeKey="low-key")).encode()
        sent = {} if coding is None else {"Content-Encoding": coding}
        pack = gzip.compress if coding else bytes
        assert post(child, "/v1/t", pack(data), {**basic("low-key"), **sent}).status == status
        assert post(child, "/v1/t", pack(with_key), sent).status == status


def test_a_source_may_take_larger_bodies(children: Children) -> None:
    """Its own limits hold instead of those of all, on each of its routes, and for nobody else."""
    limits = "[limits]\nbody_bytes_max = 1000\ndecoded_bytes_max = 1000\n"
    own = source("big", type="segment", tokens=["big-key"], body_bytes_max=5000, decoded_bytes_max=9000)
    child = children(limits + SOURCES + own)
    child.start()
    for size, coding, status in ((4000, None, 200), (6000, None, 413), (8000, "gzip", 200), (9000, "gzip", 413)):
        data = json.dumps(track("m-1", text="x" * size)).encode()
        sent = {"Content-Encoding": "gzip"} if coding else {}
        for path in ("/v1/t", "/ingest/inbound/big"):
            answer = post(child, path, gzip.compress(data) if coding else data, {**basic("big-key"), **sent})
            assert answer.status == status
    assert post(child, "/v1/t", track("m-1", text="x" * 1000), basic(KEY)).status == 413


def test_strangers_share_an_eighth(children: Children) -> None:
    """Bodies with their key in them hold an eighth of what is in flight, and those whose key is known nothing of it."""
    child = children("[limits]\nbody_bytes_max = 8000\nin_flight_bytes_max = 8000\n" + SOURCES)
    child.start()
    small = json.dumps(track("m-1", writeKey=KEY)).encode()
    with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as busy:
        busy.sendall(request("POST", "/v1/t", "Expect: 100-continue", "Content-Length: 990"))
        assert busy.recv(1000).startswith(b"HTTP/1.1 100 ")
        for place in ("", "/ingest/inbound/nobody"):
            answer = post(child, f"{place}/v1/t", small)
            assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (429, "overloaded", "30")
        assert post(child, "/v1/t", track("m-1", text="x" * 4000), basic(KEY)).status == 200
    eventually(lambda: post(child, "/v1/t", small).status == 200)
    assert post(child, "/v1/t", b" " * 1001).status == 413


def test_heavy_bodies_with_keys_are_answered(children: Children) -> None:
    """One that waits for its turn is answered like any other, right or wrong."""
    child = children(SOURCES)
    child.start()
    items = [track(f"m-{number}") for number in range(1000)]
    for key, status in ((KEY, 200), ("wrong", 401), (None, 401), (KEY, 200)):
        assert post(child, "/v1/batch", {"batch": items, "writeKey": key}).status == status
    assert post(child, "/v1/batch", b"[" * 20_000).status == 400


def test_retried_requests_are_counted(children: Children) -> None:
    """A request that says that it is a retry counts for its source, wherever its key is; a refused one does not."""
    child = children(SOURCES)
    child.start()
    again = {"X-Retry-Count": "1"}
    assert post(child, "/v1/t", track("m-1"), {**basic(KEY), **again}).status == 200
    assert post(child, "/v1/t", track("m-1", writeKey=KEY), again).status == 200
    assert post(child, "/v1/t", track("m-1"), basic(KEY)).status == 200
    assert post(child, "/v1/t", track("m-1", writeKey="wrong"), again).status == 401
    found = child.metrics()
    assert found['tidegate_retried_requests_total{source="app"}'] == 2
    assert found['tidegate_retried_requests_total{source="web"}'] == 0


def test_other_methods_have_no_route(children: Children) -> None:
    """They are 405, with what is taken instead; nothing is ever redirected."""
    child = children(SOURCES)
    child.start()
    for path in ("/v1/batch", "/v1/t/", f"{BELOW}/v1/import"):
        for method in ("GET", "PUT", "OPTIONS"):
            answer = child.request(method, path, b"", {})
            assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_key_in_a_body_authenticates_its_connection(children: Children) -> None:
    """Of idle connections those go first on which no right key has come, though bodies were read; the others stay."""
    child = children("[limits]\nconnections_max = 2\n" + SOURCES)
    child.start()
    sent = [json.dumps(track("m-1", writeKey=KEY)).encode(), b"{"]
    with child.session() as known, child.session() as stranger, child.session() as third:
        assert known.ask("POST", "/v1/t", sent[0], {}).status == 200
        assert stranger.ask("POST", "/v1/t", sent[1], {}).status == 400
        assert third.ask("POST", "/v1/t", sent[0], {}).status == 200
        with pytest.raises((OSError, HTTPException)):
            stranger.ask("POST", "/v1/t", sent[0], {})
        assert known.ask("POST", "/v1/t", sent[0], {}).status == 200
