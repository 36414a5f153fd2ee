"""Pages in browsers that send by the routes of SDKs: who may, and what each answer tells the browser."""

import base64
import json
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.client import Response, request
from tests.support.config import TOKEN, source
from tests.support.ledger import totals
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

SHOP, BLOG, OTHER = "https://shop.example.com", "http://localhost:3000", "https://evil.example.com"
SOURCES = (
    source("shop", type="segment", tokens=["shop-key"], cors_origins=[SHOP])
    + source("blog", type="segment", tokens=["blog-key"], cors_origins=[BLOG, "https://blog.example.com"])
    + source("app", type="segment", tokens=["app-key"])
    + source("hook")
)
PREFLIGHT = {
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "authorization, content-type, content-encoding, x-retry-count, anonymousid",
    "access-control-max-age": "7200",
}
EVENT = {"type": "track", "messageId": "m-1", "event": "x"}


def ask(child: Child, method: str, path: str, origin: str | None, body: object = None, *, key: str = "") -> Response:
    headers: dict[str, str] = {} if origin is None else {"Origin": origin}
    if key:
        headers["Authorization"] = f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"
    return child.request(method, path, b"" if body is None else json.dumps(body).encode(), headers)


def said(answer: Response) -> Mapping[str, str]:
    """Its headers of CORS."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def shared(origin: str) -> Mapping[str, str]:
    return {"access-control-allow-origin": origin, "access-control-expose-headers": "retry-after"}


def test_a_browser_is_told_what_it_may(children: Children) -> None:
    """Where a page's origin is listed OPTIONS is 204 with all that the SDKs need; at the root any source's counts."""
    child = children(SOURCES)
    child.start()
    for path, origin in (
        *((f"/ingest/inbound/shop{suffix}", SHOP) for suffix in ("/v1/t", "/v1/batch/", "/beacon/v1/batch?x=1")),
        *(("/v1/t", each) for each in (SHOP, BLOG, "https://blog.example.com")),
    ):
        answer = ask(child, "OPTIONS", path, origin)
        assert (answer.status, answer.body) == (204, b"")
        assert said(answer) == {**PREFLIGHT, **shared(origin)}
        assert answer.headers["vary"] == "Origin"
        assert not {"content-length", "content-type", "transfer-encoding"} & answer.headers.keys()
    assert said(ask(child, "OPTIONS", "/v1/t", None)) == PREFLIGHT
    assert child.metrics()['tidegate_requests_total{code="",status="204"}'] == 7


def test_other_origins_are_refused(children: Children) -> None:
    """A page that is not listed gets the 401 of a wrong key, and is told nothing, wherever the key is."""
    child = children(SOURCES)
    child.start()
    for path in ("/v1/t", "/ingest/inbound/shop/v1/t"):
        for origin in (OTHER, "null", "", f"{SHOP}/", SHOP.upper(), f"{SHOP}:443", "*"):
            for method, body, key in (
                ("OPTIONS", None, ""),
                ("POST", EVENT, "shop-key"),
                ("POST", {**EVENT, "writeKey": "shop-key"}, ""),
            ):
                answer = ask(child, method, path, origin, body, key=key)
                assert (answer.status, answer.json["code"], said(answer)) == (401, "unauthorized", {})
    answer = ask(child, "POST", "/v1/t", BLOG, EVENT, key="shop-key")
    assert (answer.status, said(answer)) == (401, shared(BLOG))
    assert totals(child) == {}


def test_a_refused_origin_is_on_record(children: Children) -> None:
    """Whoever looks for the reason of a right key's 401 finds the origin, or the type of the source, and no key."""
    paths = ("", "/ingest/inbound/s1", "", "/ingest/inbound/s3")
    tries = [(f"s{at}", f"key-{at}", path, at < 2) for at, path in enumerate(paths)]
    segments = "".join(source(each, type="segment", tokens=[key], cors_origins=[SHOP]) for each, key, _, _ in tries)
    child = children(segments + source("hook"))
    child.start()
    for name, key, path, in_head in tries:
        body = EVENT if in_head else {**EVENT, "writeKey": key}
        answer = ask(child, "POST", f"{path}/v1/t", f"https://{key}", body, key=key if in_head else "")
        assert answer.status == 401
        found = refusal(child, name)
        assert (found["why"], found["sender"]) == ("origin: 'https://***' is not among cors_origins", "known")
    assert child.request("POST", "/ingest/inbound/hook/v1/t", b"{}", {"Authorization": f"Bearer {TOKEN}"}).status == 401
    assert refusal(child, "hook")["why"] == "route: it is one of SDKs, and this source is not of type segment"


def refusal(child: Child, source_id: str) -> dict[str, Any]:
    """The one that is on record, as soon as it is."""
    eventually(lambda: child.admin(f"/refusals/{source_id}").json["refusals"])
    [found] = child.admin(f"/refusals/{source_id}").json["refusals"]
    return dict(found)


def test_every_answer_can_be_read(children: Children) -> None:
    """A listed page can read each answer, accepted or refused, at whichever step."""
    child = children(
        "[queue]\nbacklog_events_max = 1\n" + SOURCES.replace("[sources.shop]", "[sources.shop]\npaused=true")
    )
    child.start()
    for path in ("/v1/t", "/ingest/inbound/shop/v1/t"):
        for method, body, key, status in (
            ("POST", {**EVENT, "writeKey": "shop-key"}, "", 200 if path == "/v1/t" else 429),
            ("POST", EVENT, "shop-key", 429),
            ("POST", {**EVENT, "writeKey": "wrong"}, "", 401),
            ("POST", EVENT, "wrong", 401),
            ("POST", [], "", 401),
            ("POST", None, "", 400),
            ("GET", None, "", 405),
        ):
            answer = ask(child, method, path, SHOP, body, key=key)
            assert (answer.status, said(answer), answer.headers["vary"]) == (status, shared(SHOP), "Origin")
    assert said(ask(child, "POST", "/v1/t", None, EVENT, key="wrong")) == {}


def test_without_origins_nothing_is_looked_at(children: Children) -> None:
    """A source without origins takes any, and tells browsers nothing; so do sources that are no SDKs', and routes."""
    child = children(SOURCES)
    child.start()
    for origin in (SHOP, OTHER):
        answer = ask(child, "POST", "/ingest/inbound/app/v1/t", origin, EVENT, key="app-key")
        assert (answer.status, said(answer)) == (200, {})
        answer = ask(child, "POST", "/ingest/inbound/shop", origin, EVENT, key="shop-key")
        assert (answer.status, said(answer)) == (200, {})
        assert ask(child, "POST", "/v1/t", origin, EVENT, key="app-key").status == 200
        for path in ("app/v1/t", "hook/v1/t", "nobody/v1/t", "shop"):
            answer = ask(child, "OPTIONS", f"/ingest/inbound/{path}", origin)
            assert (answer.status, answer.headers["allow"], said(answer)) == (405, "POST", {})


def test_any_origin_may_be_taken(children: Children) -> None:
    """With `*` each page may send; a reload changes whose pages may."""
    child = children(source("web", type="segment", tokens=["web-key"], cors_origins=["*"]))
    child.start()
    for origin in (SHOP, "null"):
        for path in ("/v1/t", "/ingest/inbound/web/v1/t"):
            assert said(ask(child, "OPTIONS", path, origin)) == {**PREFLIGHT, **shared("*")}
            answer = ask(child, "POST", path, origin, EVENT, key="web-key")
            assert (answer.status, said(answer)) == (200, shared("*"))
    child.write(source("web", type="segment", tokens=["web-key"], cors_origins=[BLOG]))
    child.reload()
    assert ask(child, "OPTIONS", "/v1/t", SHOP).status == 401
    assert ask(child, "POST", "/v1/t", SHOP, EVENT, key="web-key").status == 401
    assert ask(child, "POST", "/v1/t", BLOG, EVENT, key="web-key").status == 200


def test_a_connection_goes_on_after_a_preflight(children: Children) -> None:
    """A browser sends what it asked for on the same connection; heads that differ by Origin are not mixed up."""
    child = children(SOURCES)
    child.start()
    key = f"Authorization: Basic {base64.b64encode(b'shop-key:').decode()}"
    post = [request("POST", "/v1/t", key, f"Origin: {each}", body=json.dumps(EVENT).encode()) for each in (SHOP, OTHER)]
    with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(request("OPTIONS", "/v1/t", f"Origin: {SHOP}") + post[0] * 20 + post[1])
        answers = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 204 ") == 1
    assert answers.count(b"HTTP/1.1 200 ") == 20
    assert answers.count(b"HTTP/1.1 401 ") == 1
    assert answers.count(f"access-control-allow-origin: {SHOP}\r\n".encode()) == 21
    twice = request("POST", "/v1/t", key, f"Origin: {SHOP}", f"Origin: {SHOP}", "Connection: close", body=b"{}")
    with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(twice)
        assert b"".join(iter(lambda: sock.recv(65536), b"")).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"cors_origins": [f"{SHOP}/"], "type": "segment"}, "must be an origin"),
        ({"cors_origins": [SHOP.upper()], "type": "segment"}, "must be an origin"),
        ({"cors_origins": ["shop.example.com"], "type": "segment"}, "must be an origin"),
        ({"cors_origins": [SHOP]}, "sources.web.cors_origins: is for sources of type segment only"),
    ],
)
def test_what_is_no_origin_is_a_mistake(children: Children, keys: Mapping[str, object], words: str) -> None:
    """An origin that no browser would send is a mistake in the configuration, and so is one of a webhook source."""
    child = children(source("web", **keys))
    done = child.cli("check")
    assert done.returncode == 2
    assert words in done.stderr
