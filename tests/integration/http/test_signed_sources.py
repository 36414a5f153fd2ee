"""Webhooks as vendors sign them, on the running server: what is let in, what its events are called, what is refused."""

import json
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from server.intake.claims import Message
from server.intake.schemes import SCHEMES
from tests.support.client import Response
from tests.support.config import TOKEN, source
from tests.support.ledger import pending, totals
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

SECRET = "c2VjcmV0"

BODIES: Mapping[str, dict[str, Any]] = {
    "convertmax": {"inbound_event_id": "evt-1", "event_type": "made"},
    "standard-webhooks": {"type": "made", "data": {"id": 7}},
    "stripe": {"id": "evt-1", "type": "made", "object": "event"},
    "github": {"action": "opened", "id": 5},
    "shopify": {"id": 820982911946154508, "email": "jon@example.com"},
    "slack": {"event_id": "evt-1", "type": "event_callback", "event": {"type": "made"}},
    "meta": {"inbound_event_id": "evt-1", "object": "made", "entry": [{"id": "7"}]},
    "zoom": {"inbound_event_id": "evt-1", "event": "made"},
    "x": {"inbound_event_id": "evt-1", "event_type": "made"},
}
"""A body of each scheme. Its event is `evt-1` of type `made`, by its body or its headers; three vendors send no id."""

SIGNING = [name for name, scheme in SCHEMES.items() if scheme.secret is None]
"""Those in which something is signed."""

UNSIGNED = {"github": ["event_id", "event_type"], "shopify": ["event_id", "event_type"]}


def config(name: str, **keys: object) -> str:
    more = {"verify_token": "asked-for"} if name == "meta" else {}
    return source("signed", **{"tokens": [], "signing_secrets": [SECRET], "signature": name, **more, **keys})


def signed(name: str, body: bytes, *, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    """The headers of a right request of now."""
    scheme = SCHEMES[name]
    seconds = int(time.time() if at is None else at)
    return scheme.sign(Message(body, scheme.key(secret.encode()), "evt-1", "made", seconds))


def send(child: Child, body: bytes, headers: Mapping[str, str]) -> Response:
    """Without an Authorization header, as vendors send it."""
    return child.request("POST", "/ingest/inbound/signed", body, {"Content-Type": "application/json", **headers})


def event(child: Child, event_id: str = "evt-1") -> dict[str, Any]:
    eventually(lambda: pending(child, "signed") == 0)
    found: dict[str, Any] = child.admin(f"/events/signed/{event_id}").json
    return found


@pytest.mark.parametrize("name", SIGNING)
def test_a_signature_is_enough(children: Children, name: str) -> None:
    """Without a token a rightly signed body is taken, with the vendor's id and type; a second one is a duplicate."""
    child = children(config(name))
    child.start()
    body = json.dumps(BODIES[name]).encode()
    for _ in range(2):
        assert send(child, body, signed(name, body)).status == 200
    found = event(child)
    assert (found["inbound_event_id"], found["event_type"], found["payload"]) == ("evt-1", "made", BODIES[name])
    if SCHEMES[name].event_id_from:
        assert found["provider_event_id"] == "evt-1"
    assert found["meta"].get("unsigned") == UNSIGNED.get(name)
    assert not {header.encode() for header in found["headers"]} & set(SCHEMES[name].headers) - {
        b"webhook-id",
        b"webhook-timestamp",
        b"x-slack-request-timestamp",
        b"x-zm-request-timestamp",
    }
    counted = totals(child)["signed"]
    assert (counted["processed"], counted["duplicate"]) == (1, 1)


@pytest.mark.parametrize("name", SIGNING)
def test_a_wrong_signature_is_401(children: Children, name: str) -> None:
    """Of another body, under another secret, or missing: the same 401 as for a wrong token, and nothing is kept."""
    child = children(config(name) + source("worked"))
    child.start()
    body = json.dumps(BODIES[name]).encode()
    right = signed(name, body)
    [signature] = [key for key in right if "sign" in key or "hmac" in key]
    wrong = child.request("POST", "/ingest/inbound/worked", body, {"Authorization": "Bearer wrong"})
    assert wrong.status == 401
    for headers in (
        signed(name, body + b" "),
        signed(name, body, secret="b3RoZXI="),
        {key: value for key, value in right.items() if key != signature},
        {**right, signature: "junk"},
        {"Authorization": f"Bearer {TOKEN}"},
    ):
        answer = send(child, body, headers)
        assert (answer.status, answer.body) == (401, wrong.body)
    assert child.metrics()['tidegate_events_received_total{source="signed"}'] == 0


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if scheme.is_dated])
def test_an_old_signature_is_401(children: Children, name: str) -> None:
    """A timestamp outside of the tolerance is refused, in either direction, however right the signature is."""
    child = children(config(name, signature_tolerance_seconds=3600))
    child.start()
    body = json.dumps(BODIES[name]).encode()
    now = time.time()
    for off, status in ((-4000, 401), (4000, 401), (-3000, 200), (3000, 200)):
        assert send(child, body, signed(name, body, at=now + off)).status == status


def raw_head(headers: Mapping[str, str], length: int, extra: str = "") -> bytes:
    lines = [f"{key}: {value}" for key, value in headers.items()]
    first = "POST /ingest/inbound/signed HTTP/1.1"
    return "\r\n".join([first, "Host: a", f"Content-Length: {length}", *lines, extra, "", ""]).encode()


def first_line(child: Child, head: bytes) -> str:
    """What the server says to a head, before any of its body."""
    with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(head)
        return sock.makefile("rb").readline().decode().strip()


@pytest.mark.parametrize("name", SIGNING)
def test_bad_signature_headers_are_refused_first(children: Children, name: str) -> None:
    """No body is asked for whose signature is missing, malformed, stale or there twice, nor with an id twice."""
    child = children(config(name))
    child.start()
    body = json.dumps(BODIES[name]).encode()
    right, expects = signed(name, body), "Expect: 100-continue"
    heads = [{}, dict.fromkeys(right, "\x80")]
    if SCHEMES[name].is_dated:
        heads.append(signed(name, body, at=1))
    assert first_line(child, raw_head(right, len(body), expects)).startswith("HTTP/1.1 100")
    for headers in heads:
        assert first_line(child, raw_head(headers, len(body), expects)).startswith("HTTP/1.1 401")
    for key, value in right.items():
        twice = raw_head(right, len(body), f"{expects}\r\n{key}: {value}")
        assert first_line(child, twice).startswith("HTTP/1.1 401")


def test_a_backlog_is_no_strangers_business(children: Children) -> None:
    """A source with a full backlog says so to its senders; without a signature there is the same 401 as ever."""
    child = children("[queue]\nbacklog_events_max = 1\n" + config("stripe", paused=True))
    child.start()
    body = json.dumps(BODIES["stripe"]).encode()
    assert send(child, body, signed("stripe", body)).status == 200
    assert send(child, body, signed("stripe", body)).json["code"] == "overloaded"
    for headers in ({}, {"stripe-signature": "junk"}, signed("stripe", body, at=1)):
        assert send(child, body, headers).status == 401


def test_a_token_may_be_asked_for_too(children: Children) -> None:
    """Where a source has tokens and secrets, a request needs both."""
    child = children(config("github", tokens=[TOKEN]))
    child.start()
    body = b"{}"
    headers = signed("github", body)
    assert send(child, body, headers).status == 401
    assert send(child, body, {"Authorization": f"Bearer {TOKEN}"}).status == 401
    assert send(child, body, {"Authorization": f"Bearer {TOKEN}", **headers}).status == 200


def test_a_rotation_accepts_both_secrets(children: Children) -> None:
    """While two secrets are configured either signs."""
    child = children(config("stripe", signing_secrets=["old", "new"]))
    child.start()
    for at, secret in enumerate(("old", "new")):
        body = b'{"id": "evt-%d", "type": "made"}' % at
        assert send(child, body, signed("stripe", body, secret=secret)).status == 200


def test_items_share_an_id_header(children: Children) -> None:
    """The id in a header is that of each item of an array, with its index; of a single one it is the whole id."""
    child = children(config("github"))
    child.start()
    body = b'[{"a": 1}, {"a": 2}]'
    assert send(child, body, signed("github", body)).json["accepted"] == 2
    assert [event(child, f"evt-1%23{at}")["payload"]["a"] for at in range(2)] == [1, 2]
    assert send(child, b'[{"a": 3}]', signed("github", b'[{"a": 3}]')).json["accepted"] == 1
    assert event(child)["payload"]["a"] == 3


def test_paths_may_be_configured(children: Children) -> None:
    """The first path that leads to something counts, deep in the body or in a header; a bad value is no event."""
    paths = {
        "event_id_from": ["body.data.id", "header.x-request-id"],
        "event_type_from": ["header.x-kind", "body.kind"],
    }
    child = children(source("signed", **paths))
    child.start()

    def post(body: object, **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return child.post("signed", body, headers=named)

    assert post({"data": {"id": 7}, "kind": "low"}, X_Request_Id="r-1", X_Kind="high").status == 200
    found = event(child, "7")
    assert (found["event_type"], found["meta"]["id_from"], found["provider_event_id"]) == ("high", "body.data.id", "7")
    assert "unsigned" not in found["meta"]
    assert post({"data": {"id": None}, "kind": "low"}, X_Request_Id="r-1").status == 200
    found = event(child, "r-1")
    assert (found["event_type"], found["meta"]["id_from"]) == ("low", "header.x-request-id")
    values: list[object] = [True, {}, "", 1.5]
    bad: list[object] = [{"data": {"id": value}} for value in values]
    for body in (*bad, {"data": {"id": 1}, "kind": 1}):
        assert post(body, X_Request_Id="r-2").json["code"] == "invalid_event"
    assert post({"data": [{"id": 1}]}).json["accepted"] == 1  # no object: the id is generated


def test_the_verified_family_names_the_event(children: Children) -> None:
    """A sender of Svix is told by svix-id, whatever stands in webhook-id beside it."""
    child = children(config("standard-webhooks"))
    child.start()
    body = b'{"event_type": "made"}'
    headers = {key.replace("webhook-", "svix-"): value for key, value in signed("standard-webhooks", body).items()}
    assert send(child, body, {**headers, "webhook-id": "another"}).status == 200
    found = event(child)
    assert (found["meta"]["id_from"], found["event_type"]) == ("header.svix-id", "made")
    assert "unsigned" not in found["meta"]


def test_unverified_bodies_hold_an_eighth(children: Children) -> None:
    """Bodies whose signature is not checked yet have a little room of their own, and take none from known senders."""
    child = children(
        "[limits]\nbody_bytes_max = 4000\nin_flight_bytes_max = 32000\n" + config("github") + source("worked")
    )
    child.start()
    well_formed = {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    with ExitStack() as held:
        for _ in range(4):
            sock = held.enter_context(socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS))
            sock.sendall(raw_head(well_formed, 4000, "Expect: 100-continue"))
            sock.settimeout(HANG_SECONDS)
            first = sock.recv(12)
        assert first == b"HTTP/1.1 503"
        assert child.post("worked", {"text": "x" * 3900}).status == 200
