"""What a real Segment SDK sends: by its own route and credential, and its bodies as they are with a bearer token.

For the latter its bodies are captured on the way to a server of the test.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from segment.analytics.client import Client

from tests.support.server import Child, Children
from tests.support.waiting import eventually

KEPT = ("content-type", "content-encoding", "user-agent")
"""Of the SDK's headers; the credential is ours, and the client adds the rest."""

SOURCE = '[sources.app]\ntype = "segment"\ntokens = ["a-token-of-the-tests"]\n'


class Capture(BaseHTTPRequestHandler):
    """Answers 200 and keeps headers and body."""

    kept: list[tuple[dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.kept.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@contextmanager
def capturing() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    kept: list[tuple[dict[str, str], bytes]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (Capture,), {"kept": kept}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def serialised(*, gzip: bool) -> list[tuple[dict[str, str], bytes]]:
    """The requests in which the SDK sends one event of each kind."""
    with capturing() as (host, kept):
        send_each_kind(Client("a-write-key", host=host, gzip=gzip, max_retries=0))
    return kept


def send_each_kind(client: Client) -> None:
    client.identify("user-1", {"plan": "pro", "name": "Zoë"})
    client.track("user-1", "Order Completed", {"revenue": 42.5})
    client.page("user-1", "docs", "Home", {"url": "https://example.com/"})
    client.screen("user-1", "app", "Start")
    client.group("user-1", "group-1", {"seats": 3})
    client.alias("user-0", "user-1")
    client.shutdown()


def events_of(child: Child, event_ids: list[str]) -> list[dict[str, Any]]:
    return [json.loads(child.admin(f"/events/app/{event_id}").body) for event_id in event_ids]


@pytest.mark.parametrize("gzip", [False, True])
def test_bodies_of_the_python_sdk(children: Children, gzip: bool) -> None:
    """Every kind of event arrives under its messageId with its type, its payload and the batch's time of sending."""
    child = children(SOURCE)
    child.start()
    requests = serialised(gzip=gzip)
    delivered: list[str] = []
    for headers, body in requests:
        kept = {name: value for name, value in headers.items() if name in KEPT}
        answer = child.post("app", body, headers=kept)
        assert answer.status == 200
        assert answer.json["success"] is True
        assert answer.json["rejected"] == []
        delivered.append(answer.json["delivery"])
    eventually(lambda: child.metrics()['tidegate_events_total{outcome="processed",source="app"}'] == 6)
    found = [item for delivery in delivered for item in child.admin(f"/deliveries/{delivery}").json["items"]]
    events = events_of(child, [item["inbound_event_id"] for item in found])
    assert [event["event_type"] for event in events] == ["identify", "track", "page", "screen", "group", "alias"]
    assert events[0]["payload"]["traits"] == {"plan": "pro", "name": "Zoë"}
    assert events[1]["payload"]["properties"] == {"revenue": 42.5}
    for event in events:
        assert event["payload"]["messageId"] == event["inbound_event_id"] == event["provider_event_id"]
        assert event["payload"]["context"]["library"]["name"] == "analytics-python"
        assert event["meta"]["sent_at"]
        assert event["headers"]["user-agent"].startswith("analytics-python/")


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("place", ["", "/ingest/inbound/app"])
def test_the_python_sdk_works_unmodified(children: Children, place: str, gzip: bool) -> None:
    """Given the server's address, or the source's, and a token as its write key, all its events arrive, without it."""
    child = children(SOURCE)
    child.start()
    failed: list[object] = []
    host = f"http://127.0.0.1:{child.port}{place}"
    send_each_kind(Client("a-token-of-the-tests", host=host, gzip=gzip, on_error=lambda *found: failed.append(found)))
    eventually(lambda: child.metrics()['tidegate_events_total{outcome="processed",source="app"}'] == 6)
    assert failed == []
    assert child.metrics()['tidegate_retried_requests_total{source="app"}'] == 0
    stored = b"".join(path.read_bytes() for path in child.store.iterdir() if path.is_file())
    assert b"a-token-of-the-tests" not in stored
