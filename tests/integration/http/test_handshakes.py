"""What vendors ask an address before they send to it: each is answered as it wants, and by its own scheme alone."""

import base64
import hmac
import json
from urllib.parse import quote

import pytest

from server.intake.schemes import SCHEMES
from tests.integration.http import test_graph_sources as graph
from tests.integration.http.test_signed_sources import SECRET, config, send, signed
from tests.support.client import Response
from tests.support.config import source
from tests.support.ledger import totals
from tests.support.server import Child, Children

VERIFY = "asked-for"
PATH = "/ingest/inbound/signed"
QUESTION = "Validation: Testing client application reachability for subscription Request-Id: 5d2a-77"


def get(child: Child, query: str, path: str = PATH) -> Response:
    return child.request("GET", f"{path}?{query}", b"", {})


def meta_query(token: str = VERIFY, challenge: str = "1158201444", mode: str = "subscribe") -> str:
    return f"hub.mode={mode}&hub.challenge={quote(challenge)}&hub.verify_token={quote(token)}"


def nothing_kept(child: Child) -> bool:
    return "signed" not in totals(child)


def test_slack_gets_its_challenge_back(children: Children) -> None:
    """A rightly signed url_verification is answered and not kept; one that is not is 401."""
    child = children(config("slack"))
    child.start()
    challenge = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
    body = json.dumps({"token": "x", "challenge": challenge, "type": "url_verification"}).encode()
    answer = send(child, body, signed("slack", body))
    assert (answer.status, answer.json) == (200, {"challenge": challenge})
    assert answer.headers["content-type"] == "application/json"
    assert send(child, body, signed("slack", body + b" ")).status == 401
    assert nothing_kept(child)


def test_zoom_gets_its_token_signed(children: Children) -> None:
    """The answer is the HMAC of the token; a token that could be a body or a signed text is 401."""
    child = children(config("zoom", signing_secrets=["new", "old"]))
    child.start()

    def ask(token: object) -> Response:
        body = json.dumps({"event": "endpoint.url_validation", "payload": {"plainToken": token}}).encode()
        return send(child, body, signed("zoom", body, secret="new"))

    answer = ask("qgg8vlvZRS6UYooatFL8Aw")
    encrypted = hmac.digest(b"new", b"qgg8vlvZRS6UYooatFL8Aw", "sha256").hex()
    assert (answer.status, answer.json) == (200, {"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": encrypted})
    for token in ("", "x" * 257, "v0:1:{}", '{"a":1}', "a b", "ä", "a\n", 7, None, ["a"]):
        assert (ask(token).status, ask(token).json["code"]) == (401, "unauthorized")
    assert ask("x" * 256).status == 200
    assert nothing_kept(child)


def test_meta_gets_its_challenge_back(children: Children) -> None:
    """With the right verify token the challenge comes back as text; anything else is 401."""
    child = children(config("meta", verify_token=VERIFY))
    child.start()
    answer = get(child, meta_query())
    assert (answer.status, answer.body) == (200, b"1158201444")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for query in (
        meta_query(token="wrong"), meta_query(token=""), meta_query(token="ä"), meta_query(mode="other"), "",
        meta_query(challenge="<script>"), meta_query(challenge=""), meta_query(challenge="1" * 257),
        meta_query() + "&hub.challenge=2", meta_query() + "&hub.verify_token=" + VERIFY, "%", "hub.challenge=1",
        meta_query() + "&x=" + "y" * 5000,
    ):  # fmt: skip
        assert (get(child, query).status, get(child, query).json["code"]) == (401, "unauthorized")
    assert nothing_kept(child)


def test_x_gets_its_token_signed(children: Children) -> None:
    """The answer to a CRC is the base64 of the HMAC of the token."""
    child = children(config("x"))
    child.start()
    token = base64.b64encode(b"any bytes").decode()
    answer = get(child, f"crc_token={quote(token)}&nonce=7")
    digest = base64.b64encode(hmac.digest(SECRET.encode(), token.encode(), "sha256")).decode()
    assert (answer.status, answer.json) == (200, {"response_token": f"sha256={digest}"})
    for query in ("", "crc_token=", "crc_token=%7B%7D", f"crc_token={'a' * 257}", "crc_token=a&crc_token=b"):
        assert get(child, query).status == 401
    assert nothing_kept(child)


def test_graph_gets_its_token_back(children: Children) -> None:
    """Decoded, as text that no browser runs, also while the backlog is full; nothing of it is kept."""
    child = children("[queue]\nbacklog_events_max = 1\n" + graph.config())
    child.start()
    for token in (QUESTION, "<script>alert(1)</script>", "a+b&c=d", "é"):
        written = quote(token, safe="").replace("%20", "+")
        head, _, text = graph.ask(child, f"validationToken={written}").partition(b"\r\n\r\n")
        assert text == token.encode()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n" in head
        if token == QUESTION:
            assert graph.post(child, graph.body(graph.change())).status == 200
            assert graph.post(child, graph.body(graph.change("evt-2"))).json["code"] == "overloaded"
    assert totals(child)["graph"]["received"] == 1


def test_wrong_questions_look_like_any_401(children: Children) -> None:
    """Those that are malformed, and those to another source, get the bytes that a source gets that does not exist."""
    child = children(
        graph.config() + source("worked") + source("hooks", tokens=[], signing_secrets=["s"], signature="github")
    )
    child.start()
    unknown = graph.ask(child, "validationToken=abc", "/ingest/inbound/nobody")
    assert unknown.startswith(b"HTTP/1.1 401 ")
    for query in (
        "validationToken=", "validationToken", "validationToken=a&validationToken=b", "validationToken=a%0D%0AX:%20b",
        "validationToken=%00", "validationToken=%ff", "validationToken=" + "x" * 5000, "x=validationToken",
    ):  # fmt: skip
        assert graph.ask(child, query) == unknown
    assert graph.ask(child, "validationToken=abc", data=graph.body(graph.change())) == unknown
    for path in ("/ingest/inbound/worked", "/ingest/inbound/hooks"):
        assert graph.ask(child, "validationToken=abc", path) == unknown
    assert graph.ask(child, "validationToken=" + "x" * 2**20).startswith(b"HTTP/1.1 431 ")
    assert totals(child) == {}


def test_a_full_store_answers_no_question(children: Children) -> None:
    """A server that cannot take events says so to a question, too: the subscription is made again later."""
    child = children(graph.config() + f"[storage]\nfree_bytes_min = {2**47}\n")
    child.start()
    assert b'"code":"storage_full"' in graph.ask(child, "validationToken=abc")


@pytest.mark.parametrize("name", [name for name in SCHEMES if name not in {"meta", "x"}])
def test_other_sources_are_not_asked(children: Children, name: str) -> None:
    """A GET is 405 as ever for every other source, known or not; a POST that looks like a question is an event."""
    child = children(config(name) + source("worked"))
    child.start()
    for path in (PATH, "/ingest/inbound/worked", "/ingest/inbound/nobody"):
        for query in (meta_query(), "crc_token=a"):
            answer = get(child, query, path)
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
    if name not in {"slack", "zoom", "microsoft-graph"}:
        both = {"type": "url_verification", "challenge": "a", "event": "endpoint.url_validation"}
        body = json.dumps({**both, "payload": {"plainToken": "a"}}).encode()
        assert send(child, body, signed(name, body)).json["accepted"] == 1


def test_other_methods_are_not_a_question(children: Children) -> None:
    """HEAD and PUT are 405, also of a source that is asked by GET, and say that POST is taken."""
    child = children(config("x"))
    child.start()
    for method in ("HEAD", "PUT", "DELETE", "OPTIONS"):
        answer = child.request(method, f"{PATH}?crc_token=a", b"", {})
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
