"""The admin side of a real server: look-ups, sources, requeue, metrics and guards, over real sockets."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from tests.support.config import source
from tests.support.ledger import check_identity
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

pytestmark = pytest.mark.xdist_group("admin")  # one server for all of them

HOSTILE_IDS = [
    "a/b",
    "/a//b/",
    "a%2Fb",
    "%",
    "%25%zz",
    "..",
    "../../etc/passwd",
    ".",
    "?a=b&c#d",
    "+ +",
    " ",
    "line\nbreak\r\nX-A: b",
    "ünï—😀",
    "\u202e\ufeff",
    "\x1b[31m\x7f",
    "-x",
    "--",
    "--all",
    "'\"\\",
    "x" * 512,
    "é" * 256,
]
NUL_ID = "nul\0"
"""No argument of a command can hold it; a path can."""

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One server for the whole file, with a source of each way that an event can go."""
    with Children(tmp_path_factory.mktemp("admin")) as children:
        sections = [
            source("demo"),
            source("works", processor="processors:plain"),
            source("fails", processor="processors:always_fails", processor_attempts_max=1),
            source("slow", rate_limit_events_per_second=0.0001),
            source("drops", rate_limit_events_per_second=0.0001, over_limit="drop"),
        ]
        with children("".join(sections)) as child:
            yield child


def post(server: Child, source_id: str, *ids: str, **keys: object) -> str:
    """Send events with these ids; the delivery."""
    response = server.post(source_id, [{"inbound_event_id": each, **keys} for each in ids])
    assert response.status == 200, response
    return str(response.json["delivery"])


def settled(server: Child, source_id: str, event_id: str) -> None:
    """Return when the event has an outcome."""
    eventually(lambda: "outcome" in (server.admin(f"/receipts/{source_id}/{quote(event_id, safe='')}").json))


@pytest.mark.parametrize("event_id", [*HOSTILE_IDS, NUL_ID])
def test_hostile_ids_are_found_everywhere(server: Child, event_id: str) -> None:
    """Any id is found by its path, encoded once, and by ?event_id=; and by the commands with the same answer."""
    post(server, "demo", event_id)
    settled(server, "demo", event_id)
    path = quote(event_id, safe="")
    receipt = server.admin(f"/receipts/demo/{path}").json
    assert receipt["inbound_event_id"] == event_id
    assert server.admin(f"/receipts/demo?{urlencode({'event_id': event_id})}").json == receipt
    query = urlencode({"a": "b", "event_id": event_id}, quote_via=quote)
    assert server.admin(f"/receipts/demo?{query}").json == receipt
    event = server.admin(f"/events/demo/{path}").json
    assert event["inbound_event_id"] == event_id
    if "\0" not in event_id:
        assert json.loads(server.cli("receipt", "demo", "--", event_id).stdout) == receipt
        assert json.loads(server.cli("event", "demo", "--", event_id).stdout) == event


def test_slashes_may_stay_as_they_are(server: Child) -> None:
    """A slash in an id may be encoded or not; what is encoded is decoded once, not twice."""
    post(server, "demo", "s/l/a", "s%2Fl%2Fa")
    settled(server, "demo", "s%2Fl%2Fa")
    assert server.admin("/receipts/demo/s/l/a").json["inbound_event_id"] == "s/l/a"
    assert server.admin("/receipts/demo/s%2Fl/a").json["inbound_event_id"] == "s/l/a"
    assert server.admin("/receipts/demo/s%252Fl%252Fa").json["inbound_event_id"] == "s%2Fl%2Fa"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/receipts/demo/%ff", 400, "invalid_request"),
        ("/receipts/demo/%c3%28", 400, "invalid_request"),
        ("/receipts/demo/50%", 400, "invalid_request"),
        ("/receipts/demo/%0", 400, "invalid_request"),
        ("/receipts/demo?event_id=%ff", 400, "invalid_request"),
        ("/receipts/demo", 400, "invalid_request"),
        ("/receipts/demo?event=x", 400, "invalid_request"),
        ("/events/demo", 400, "invalid_request"),
        ("/receipts/demo/nobody", 404, "not_found"),
        ("/receipts/demo?event_id=", 404, "not_found"),
        ("/receipts/nobody/x", 404, "not_found"),
        ("/receipts/no.source/x", 404, "not_found"),
        ("/events/demo/nobody", 404, "not_found"),
        ("/deliveries/nobody", 404, "not_found"),
        ("/deliveries/0000000000001-zzzzzz", 404, "not_found"),
        ("/deliveries/%ff", 400, "invalid_request"),
        ("/dead?source=%ff", 400, "invalid_request"),
        ("/dead?after=x", 400, "invalid_request"),
        ("/dead?after=%ff", 400, "invalid_request"),
        ("/dead?limit=0", 400, "invalid_request"),
        ("/dead?limit=501", 400, "invalid_request"),
        ("/dead?group=kind&limit=1", 400, "invalid_request"),
        ("//", 404, "not_found"),
        ("/receipts/demo/nobody?all=true", 404, "not_found"),
        ("/receipts/demo?all=true", 400, "invalid_request"),
        ("/ingest/inbound/demo", 404, "not_found"),
        ("/requeue", 405, "method_not_allowed"),
    ],
)
def test_refusals_have_status_code_and_message(server: Child, path: str, status: int, code: str) -> None:
    """What cannot be answered is a status with a code and a message, as JSON."""
    response = server.admin(path)
    assert (response.status, response.json["code"]) == (status, code)
    assert response.json["message"]
    assert response.headers["content-type"] == "application/json"


def test_the_list_names_the_routes(server: Child) -> None:
    """One route says which there are; each without a variable part is there."""
    found = server.admin("/routes")
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert {"GET /receipts/{source_id}/{event_id}", "GET /deliveries/{delivery_id}", "POST /requeue"} <= set(found.json)
    for route in found.json:
        method, _, path = route.partition(" ")
        if method == "GET" and "{" not in path and path != "/tail":  # which has no end
            assert server.admin(path).status == 200


def test_all_receipts_come_newest_first(server: Child) -> None:
    """?all=true gives every receipt of an id, the newest first, as the command's --all does, however many there are."""
    for _ in range(3):
        post(server, "demo", *["often"] * 400)
    eventually(lambda: server.admin("/sources").json["sources"][0]["pending"] == 0)
    found = server.admin("/receipts/demo/often?all=true")
    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert [each["outcome"] for each in found.json] == ["duplicate"] * 1199 + ["processed"]
    assert found.json == json.loads(server.cli("receipt", "demo", "often", "--all").stdout)
    assert server.admin("/receipts/demo?all=true&event_id=often").body == found.body
    assert server.admin("/receipts/demo/often?all=false").json == found.json[-1]


def test_a_pending_event_is_looked_up(server: Child) -> None:
    """A look-up of a pending event answers 200 with the pending object; the event itself is there already."""
    delivery = post(server, "slow", "first", "second")
    found = server.admin("/receipts/slow/second")
    assert found.status == 200
    assert found.json["received_at"].endswith("Z")
    assert {key: found.json[key] for key in ("pending", "deferred", "delivery", "batch_index", "attempts")} == {
        "pending": True,
        "deferred": True,
        "delivery": delivery,
        "batch_index": 1,
        "attempts": 0,
    }
    assert server.admin("/events/slow/second").json["meta"]["delivery"] == delivery


def test_delivery_with_all_kinds_of_items(server: Child) -> None:
    """A delivery shows when and from where it came and each item: processed, rejected and dropped."""
    items = [{"inbound_event_id": "kept"}, {"inbound_event_id": True}, {"inbound_event_id": "gone"}]
    delivery = server.post("drops", items).json["delivery"]
    settled(server, "drops", "kept")
    found = server.admin(f"/deliveries/{delivery}").json
    assert (found["source_config_id"], found["remote_addr"], found["batch_size"]) == ("drops", "127.0.0.1", 3)
    assert [item.get("outcome") for item in found["items"]] == ["processed", None, "dropped"]
    assert (found["items"][1]["rejected"], found["items"][1]["code"]) == (True, "invalid_event")
    assert json.loads(server.cli("delivery", delivery).stdout) == found
    assert server.admin("/events/drops/gone").status == 200
    post(server, "drops", "not-kept")
    refused = server.admin("/events/drops/not-kept")
    assert (refused.status, refused.json["code"]) == (404, "not_found")
    assert "its body was not kept" in refused.json["message"]


def test_result_is_the_tenth_field(server: Child) -> None:
    """What a processor returned is the event's result."""
    post(server, "works", "with-result", payload={"do": "result", "value": {"a": [1]}})
    settled(server, "works", "with-result")
    assert server.admin("/events/works/with-result").json["result"] == {"a": [1]}


def test_a_deeply_nested_event_is_shown(server: Child) -> None:
    """An event that is nested as deeply as intake allows is shown, not an error."""
    payload = b'{"inbound_event_id":"deep","a":' + b"[" * 249 + b"]" * 249 + b"}"
    response = server.post("demo", payload)
    assert response.status == 200, response
    found = server.admin("/events/demo/deep")
    assert found.status == 200
    assert payload in found.body
    assert payload in server.cli("event", "demo", "deep").stdout.encode()


def test_sources_are_shown_without_secrets(server: Child) -> None:
    """Each source is shown with its type, limits, processor and counts, and without a secret."""
    found = server.admin("/sources")
    sources = {each["id"]: each for each in found.json["sources"]}
    assert sorted(sources) == ["demo", "drops", "fails", "slow", "works"]
    assert sources["works"]["processor"] == "processors:plain"
    assert sources["drops"]["limits"]["over_limit"] == "drop"
    assert sources["demo"]["type"] == "webhook"
    assert {"pending", "deferred", "behind", "totals", "configured"} <= sources["demo"].keys()
    assert b"a-token-of-the-tests" not in found.body


def test_sources_say_how_long_the_store_holds(server: Child) -> None:
    """What is left is said; a rate that was not measured long enough, or not configured for all, is not."""
    post(server, "demo", "sized")
    settled(server, "demo", "sized")
    capacity = server.admin("/sources").json["capacity"]
    assert 0 < capacity["bytes_left"] < 64 * 2**30
    assert capacity["bytes_per_event"] > 0
    assert (capacity["retention"], capacity["measured"], capacity["configured"]) == (True, None, None)
    assert "tidegate_store_full_timestamp_seconds" not in server.metrics()


def test_dead_events_are_listed_and_requeued(server: Child) -> None:
    """Dead events are listed as lines, all of them however many, given back by POST, and die again as new deaths."""
    ids = [f"dead-{number}" for number in range(2300)]
    post(server, "fails", *ids)
    settled(server, "fails", ids[-1])
    response = server.admin("/dead")
    assert (response.status, response.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in response.body.splitlines()]
    assert [line["inbound_event_id"] for line in lines] == ids
    assert {line["error"] for line in lines} == {"ValueError: it always does"}
    assert server.admin("/dead?source=fails").body == response.body
    assert server.admin("/dead?source=demo").body == b""
    assert server.cli("dead", "fails").stdout.encode() == response.body

    order = json.dumps({"source": "fails", "event_ids": ["dead-1", "nobody", "dead-1"]}).encode()
    done = server.admin("/requeue", method="POST", body=order, headers=JSON)
    assert (done.status, done.json) == (200, {"requeued": 1, "unknown": ["nobody"]})
    settled(server, "fails", "dead-1")
    done = server.admin("/requeue", method="POST", body=b'{"source":"fails","all":true}', headers=JSON)
    assert done.json == {"requeued": len(ids), "unknown": []}
    eventually(lambda: server.metrics()['tidegate_events_total{outcome="dead",source="fails"}'] == 2 * len(ids) + 1)
    assert server.metrics()['tidegate_events_requeued_total{source="fails"}'] == len(ids) + 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_request"),
        (b"{}", 400, "invalid_request"),
        (b'{"source":"fails"}', 400, "invalid_request"),
        (b'{"source":"fails","all":false}', 400, "invalid_request"),
        (b'{"source":"fails","all":1}', 400, "invalid_request"),
        (b'{"source":7,"all":true}', 400, "invalid_request"),
        (b'{"source":"fails","all":true,"event_ids":[]}', 400, "invalid_request"),
        (b'{"source":"fails","event_ids":"x"}', 400, "invalid_request"),
        (b'{"source":"fails","event_ids":[1]}', 400, "invalid_request"),
        (b'{"source":"nobody","all":true}', 404, "not_found"),
        (json.dumps({"source": "fails", "event_ids": ["x"] * 2501}).encode(), 413, "too_large"),
        (b" " * (8 * 2**20 + 1), 413, "too_large"),
    ],
)
def test_requeue_orders_that_make_no_sense(server: Child, body: bytes, status: int, code: str) -> None:
    """An order that says not exactly what is wanted changes nothing."""
    response = server.admin("/requeue", method="POST", body=body, headers=JSON)
    assert (response.status, response.json["code"]) == (status, code)


def test_metrics_say_what_the_store_says(server: Child) -> None:
    """Scraped while nothing moves, the metrics are the store's totals and keep the accounting identity."""
    post(server, "demo", "for-metrics")
    settled(server, "demo", "for-metrics")
    eventually(lambda: server.admin("/sources").json["sources"][0]["pending"] == 0)
    check_identity(server)
    samples = server.metrics()
    assert samples['tidegate_requests_total{code="",status="200"}'] > 0
    assert samples["tidegate_commit_seconds_count"] > 0
    assert samples["tidegate_store_used_bytes"] > 0
    assert samples['tidegate_oldest_pending_seconds{source="demo"}'] == 0
    assert not any("nobody" in name for name in samples)


def test_guards_without_a_token(server: Child) -> None:
    """On loopback without a token: other Hosts and Origins are refused with JSON, and so is a POST that is no JSON."""
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        for path in ("/metrics", "/livez", "/dead", "/nothing"):
            response = server.admin(path, headers=headers)
            assert (response.status, response.json["code"]) == (403, "forbidden")
    for target, status in (("http://evil.example/livez", 403), ("http://127.0.0.1@evil.example/livez", 403)):
        assert server.admin(target, headers={"Host": "localhost"}).status == status
    assert server.admin("http://u:p@127.0.0.1:1/livez", headers={"Host": "evil.example"}).status == 200
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        response = server.admin("/requeue", method="POST", body=b'{"source":"fails","all":true}', headers=headers)
        assert (response.status, response.json["code"]) == (415, "unsupported_media_type")
    own = {"Origin": f"http://127.0.0.1:{server.admin_port}"}
    assert server.admin("/sources", headers=own).status == 200


def test_health_on_both_sides(server: Child) -> None:
    """/livez and /readyz answer on either listener."""
    for ask in (server.admin, lambda path: server.request("GET", path)):
        assert ask("/livez").status == 200
        assert (ask("/readyz").status, ask("/readyz").json["status"]) == (200, "ready")


def test_client_that_goes_away(server: Child) -> None:
    """Who leaves in the middle of a long list leaves a server that goes on."""
    with socket.create_connection(("127.0.0.1", server.admin_port)) as sock:
        sock.sendall(b"GET /dead HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(10)
    assert server.admin("/livez").status == 200
    assert server.errors == []


def test_a_token_guards_all_but_health(children: Children) -> None:
    """With a token all but health needs it, before anything else is looked at; a reload brings another one."""
    keys = 'admin_token = "file:admin-token"'
    child = children(source("demo"), server_keys=keys)
    token: Path = child.directory / "admin-token"
    token.write_text("secret-1\n")
    with child:
        for path in ("/routes", "/metrics", "/sources", "/receipts/demo/x", "/dead", "/deliveries/x", "/nothing"):
            refused = child.admin(path)
            assert (refused.status, refused.json["code"]) == (401, "unauthorized")
            assert refused.headers["www-authenticate"] == "Bearer"
            assert child.admin(path, headers={"Authorization": "Bearer secret-2"}).status == 401
        assert child.admin("/requeue", method="POST", body=b"{}").status == 401
        assert (child.admin("/livez").status, child.admin("/readyz").status) == (200, 200)
        right = {"Authorization": "Bearer secret-1"}
        assert child.admin("/sources", headers=right | {"Host": "admin.example"}).status == 200
        assert child.admin("/sources", headers=right | {"Origin": "http://evil.example"}).status == 403
        token.write_text("secret-2\n")
        child.reload()
        assert child.admin("/sources", headers={"Authorization": "Bearer secret-1"}).status == 401
        assert child.admin("/sources", headers={"Authorization": "Bearer secret-2"}).status == 200
        assert "secret-" not in json.dumps(child.lines)


def test_removed_source_is_still_looked_up(children: Children) -> None:
    """What a removed source left is counted and looked up, and shown as not configured."""
    child = children(source("demo") + source("old", rate_limit_events_per_second=0.0001))
    with child:
        child.post("old", [{"inbound_event_id": "a"}, {"inbound_event_id": "b"}])
        settled(child, "old", "a")
        child.write(source("demo"))
        child.reload()
        assert child.admin("/receipts/old/b").json["pending"] is True
        [old] = [each for each in child.admin("/sources").json["sources"] if each["id"] == "old"]
        assert (old["configured"], old["pending"]) == (False, 1)
        samples = child.metrics()
        assert samples['tidegate_events_pending{source="old"}'] == 1
        assert samples['tidegate_oldest_pending_seconds{source="old"}'] >= 0


def test_a_failed_store_refuses_a_requeue(children: Children) -> None:
    """Where nothing can be written any more, a requeue is refused with 503, and looking goes on."""
    child = children(source("demo"), launch=["--faults", "faults"])
    with child:
        post(child, "demo", "before")
        settled(child, "demo", "before")
        (child.directory / "faults").write_text("eio")
        assert child.post("demo", {"inbound_event_id": "after"}).json["code"] == "storage_failed"
        refused = child.admin("/requeue", method="POST", body=b'{"source":"demo","all":true}', headers=JSON)
        assert (refused.status, refused.json["code"]) == (503, "storage_failed")
        assert refused.headers["retry-after"]
        assert child.admin("/receipts/demo/before").json["outcome"] == "processed"
        assert child.admin("/metrics").status == child.admin("/sources").status == child.admin("/dead").status == 200


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/dead", "/receipts/demo/nobody"])
def test_head_is_answered_without_a_body(server: Child, path: str) -> None:
    """HEAD is answered as GET would be, without a body."""
    found = server.admin(path, method="HEAD")
    assert (found.status, found.body) == (server.admin(path).status, b"")


def test_one_connection_serves_many_look_ups(server: Child) -> None:
    """One connection serves many look-ups, a refused one among them."""
    connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=HANG_SECONDS)
    try:
        connection.connect()
        sock = connection.sock
        for path in ("/livez", "/nothing", "/metrics", "/receipts/demo/%ff", "/dead", "/sources"):
            connection.request("GET", path)
            connection.getresponse().read()
            assert connection.sock is sock
    finally:
        connection.close()
