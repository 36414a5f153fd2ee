"""Why it was refused: what `GET /refusals/SOURCE` and `tidegate why` say, and what they never say."""

import json
import signal
import socket
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from server.intake.claims import Message
from server.intake.schemes import SCHEMES
from tests.support.config import TOKEN, source
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

SECRET = "a-secret-of-the-tests"
OTHER = "a-secret-of-nobody"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
EVENT = b'{"inbound_event_id":"a"}'


def signed(name: str, body: bytes, *, secret: str = SECRET, ago: int = 0) -> dict[str, str]:
    return SCHEMES[name].sign(Message(body, secret.encode(), "evt-1", "made", int(time.time()) - ago))


def by_signature(source_id: str, name: str, **keys: object) -> str:
    return source(source_id, tokens=[], signing_secrets=[SECRET], signature=name, **keys)


def refusals(child: Child, source_id: str, query: str = "") -> list[dict[str, Any]]:
    answer = child.admin(f"/refusals/{source_id}{query}")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["refusals"]
    return found


def only(child: Child, source_id: str) -> dict[str, Any]:
    """The one refusal that is on record, as soon as it is."""
    eventually(lambda: refusals(child, source_id))
    [found] = refusals(child, source_id)
    return found


def post(child: Child, source_id: str, body: bytes, headers: Mapping[str, str]) -> int:
    return child.request("POST", f"/ingest/inbound/{source_id}", body, headers).status


STRANGERS: Mapping[str, tuple[str, dict[str, str], str]] = {
    "no-token": (source("no-token"), {}, "token: the Authorization header is missing, or came twice"),
    "basic": (source("basic"), {"Authorization": "Basic eA=="}, "token: the Authorization header is not `Bearer` and"),
    "wrong": (source("wrong"), {"Authorization": f"Bearer {OTHER}"}, "token: not one of this source's tokens"),
    "bare": (
        by_signature("bare", "github"),
        {},
        "signature: `x-hub-signature-256` is missing; this source expects github",
    ),
    "odd": (
        by_signature("odd", "github"),
        {"x-hub-signature-256": "sha1=aa"},
        "signature: `x-hub-signature-256` is not sha256= and 64 hex digits; this source expects github",
    ),
    "forged": (
        by_signature("forged", "github"),
        signed("github", EVENT, secret=OTHER),
        "signature: does not match the body under this source's secret (github)",
    ),
    "forged-twice": (
        source("forged-twice", tokens=[], signing_secrets=[SECRET, f"{SECRET}-2"], signature="github"),
        signed("github", EVENT, secret=OTHER),
        "signature: does not match the body under any of this source's 2 secrets (github)",
    ),
}
"""Sources to which nobody can send rightly with these headers, and what is said of it."""


def test_each_wrong_credential_has_its_words(children: Children) -> None:
    """Of a stranger's request the failed check and what would have passed are on record, and never its body."""
    child = children("".join(table for table, _, _ in STRANGERS.values()))
    child.start()
    for name, (_, headers, words) in STRANGERS.items():
        assert post(child, name, EVENT, {**headers, "User-Agent": "a sender"}) == 401
        found = only(child, name)
        assert found["why"].startswith(words)
        assert (found["source_config_id"], found["status"], found["code"]) == (name, 401, "unauthorized")
        assert (found["remote_addr"], found["sender"], found["suppressed"]) == ("127.0.0.1", "stranger", 0)
        assert (found["method"], found["path"]) == ("POST", f"/ingest/inbound/{name}")
        assert found["headers"]["user-agent"] == "a sender"
        assert not {"body", "body_base64", "body_bytes"} & found.keys()
        assert not {"authorization", "x-hub-signature-256"} & found["headers"].keys()


SDKS: Mapping[str, tuple[str, dict[str, str], str]] = {
    "page": (
        source("page", type="segment", cors_origins=["https://a.example"]),
        {"Origin": "https://b.example"},
        "origin: 'https://b.example' is not among cors_origins",
    ),
    "other-type": (source("other-type"), {}, "route: it is one of SDKs, and this source is not of type segment"),
}
"""Sources to which nobody can send by a route of SDKs with these headers, and what is said of it."""


@pytest.mark.parametrize("place", ["head", "body"])
def test_a_right_key_is_not_blamed(children: Children, place: str) -> None:
    """Where the key is right and the page or the route is not, that is said, and not that the key is wrong."""
    child = children("".join(table for table, _, _ in SDKS.values()))
    child.start()
    body = json.dumps({"messageId": "m", "writeKey": TOKEN}).encode()
    for name, (_, headers, words) in SDKS.items():
        sent = {**headers, **(BEARER if place == "head" else {})}
        assert child.request("POST", f"/ingest/inbound/{name}/v1/t", body, sent).status == 401
        assert only(child, name)["why"].startswith(words)


def test_a_stale_timestamp_is_said(children: Children) -> None:
    """By how much a signed timestamp is too old, and what is allowed."""
    child = children(by_signature("hooks", "stripe", signature_tolerance_seconds=300))
    child.start()
    assert post(child, "hooks", EVENT, signed("stripe", EVENT, ago=412)) == 401
    why = only(child, "hooks")["why"]
    age = int(why.removeprefix("signature: timestamp ").partition(" ")[0])
    assert age >= 412
    assert why == f"signature: timestamp {age} s old, tolerance 300 s"


BODIES: Mapping[str, tuple[int, bytes, dict[str, str], str]] = {
    "empty": (400, b"", {}, "the body is empty"),
    "cut": (400, b'{"id": "abcdefgh"', {}, "the body is not JSON at byte 17: "),
    "form": (415, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, "the body is not JSON at byte 0: "),
    "number": (400, b"[7]", {}, "no item is an event; the first: "),
    "zipped": (400, b"\x1f\x8bno", {"Content-Encoding": "gzip"}, "the body is not what its Content-Encoding says"),
    "encoded": (415, b"{}", {"Content-Encoding": "br"}, "Content-Encoding must be one of gzip, deflate, zstd"),
    "id": (400, b'{"inbound_event_id":{}}', {}, "inbound_event_id must be"),
}


def test_each_bad_body_is_shown(children: Children) -> None:
    """Of a known sender's request the record has the words of its answer, and the body unless it was encoded."""
    child = children("".join(map(source, BODIES)))
    child.start()
    for name, (status, body, headers, words) in BODIES.items():
        answer = child.request("POST", f"/ingest/inbound/{name}", body, {**BEARER, **headers})
        assert answer.status == status
        found = only(child, name)
        assert found["why"] == answer.json["message"]
        assert found["why"].startswith(words)
        assert (found["status"], found["code"], found["sender"]) == (status, answer.json["code"], "known")
        assert found.get("body", "") == ("" if "Content-Encoding" in headers else body.decode())
        assert found.get("body_bytes", 0) == len(body)
    assert "at byte 17: " in only(child, "cut")["why"]


def test_a_large_body_is_cut(children: Children) -> None:
    """Of a body 4096 bytes at most are kept, never half a character, and its size."""
    child = children(source("demo"))
    child.start()
    body = "ééé".encode() * 3000
    assert post(child, "demo", b"x" + body, BEARER) == 400
    found = only(child, "demo")
    assert found["body"] == ("x" + "é" * 2047)
    assert found["body_bytes"] == len(body) + 1


def test_what_is_refused_unread_is_said(children: Children) -> None:
    """A body that is too large, by its head or as it grows, or that breaks off, is on record without its content."""
    child = children("[limits]\nbody_bytes_max = 10\n" + source("head") + source("grown") + source("broken"))
    child.start()
    assert post(child, "head", b"x" * 11, BEARER) == 413
    head = f"POST /ingest/inbound/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    for name, rest in (("grown", "Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n"), ("broken", "")):
        with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
            sock.sendall((head % name + (rest or "Content-Length: 5\r\n\r\nabc")).encode())
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(4096)
    assert only(child, "head")["why"] == only(child, "grown")["why"] == "the body is over 10 bytes"
    assert only(child, "broken")["why"] == "the body ended early, or its chunks are malformed"
    for name in ("head", "grown", "broken"):
        assert only(child, name)["sender"] == "known"
        assert "body" not in only(child, name)


def test_a_full_backlog_is_said(children: Children) -> None:
    """Who is sent away because too much is pending finds that on record, with the limit."""
    child = children("[queue]\nbacklog_events_max = 1\n" + source("demo", paused=True))
    child.start()
    assert [post(child, "demo", EVENT, BEARER) for _ in range(2)] == [200, 503]
    found = only(child, "demo")
    assert (found["code"], found["why"]) == ("overloaded", "1 events of this source are pending already")


def test_a_wrong_handshake_is_said(children: Children) -> None:
    """A question by GET that was not rightly asked is on record, without its query."""
    child = children(source("asked", tokens=[], signing_secrets=[SECRET], signature="meta", verify_token="given"))
    child.start()
    query = f"hub.mode=subscribe&hub.verify_token={OTHER}&hub.challenge=1"
    assert child.request("GET", f"/ingest/inbound/asked?{query}").status == 401
    found = only(child, "asked")
    assert "the hub.verify_token of this source" in found["why"]
    assert (found["method"], found["path"]) == ("GET", "/ingest/inbound/asked")
    assert OTHER not in json.dumps(found)


def test_no_secret_is_on_record(children: Children) -> None:
    """Neither tokens nor signatures nor the query are, even where a sender put its secrets into body and headers."""
    child = children(source("demo", signing_secrets=[SECRET]) + source("plain") + by_signature("hook", "github"))
    child.start()
    body = f'{{"token": "{TOKEN}", "secret": "{SECRET}"'.encode()
    right = signed("convertmax", body)
    headers = {**BEARER, **right, "x-note": f"my {TOKEN}", "x-more": SECRET, "Cookie": "a=b"}
    answer = child.request("POST", "/ingest/inbound/demo?token=in-the-query", body, headers)
    assert answer.status == 400
    found = only(child, "demo")
    assert found["body"] == '{"token": "***", "secret": "***"'
    assert (found["headers"]["x-note"], found["headers"]["x-more"]) == ("my ***", "***")
    forged = signed("github", EVENT, secret=OTHER)
    assert post(child, "hook", EVENT, forged) == 401
    only(child, "hook")
    assert post(child, "plain", EVENT, {"Authorization": f"Bearer {OTHER}"}) == 401
    only(child, "plain")
    content = (child.store / "refusals").read_bytes()
    values = (TOKEN, SECRET, OTHER, "in-the-query", "a=b", *right.values(), forged["x-hub-signature-256"], forged)
    assert [each for each in values if isinstance(each, str) and each.encode() in content] == []


def test_unknown_sources_leave_no_trace(children: Children) -> None:
    """Who names sources that do not exist fills nothing, and asking about one gets 404."""
    child = children(source("demo"))
    child.start()
    for number in range(20):
        assert post(child, f"nobody-{number}", EVENT, {}) == 401
    assert post(child, "demo", b"{", BEARER) == 400
    only(child, "demo")
    assert (child.store / "refusals").stat().st_size == 8192
    assert child.admin("/refusals/nobody-1").status == 404


def test_strangers_cannot_push_out_others(children: Children) -> None:
    """A flood of strangers is on record once a second, with how many came between, and takes nothing of the others."""
    child = children(source("demo"))
    child.start()
    assert post(child, "demo", b"{", BEARER) == 400
    with child.session() as session:
        assert session.post("demo", b"{}").status == 200
    sent = 0

    def is_counted() -> bool:
        nonlocal sent
        assert post(child, "demo", EVENT, {}) == 401
        sent += 1
        return sent > 100 and any(each["suppressed"] for each in refusals(child, "demo"))

    eventually(is_counted)
    found = refusals(child, "demo")
    assert [each["sender"] for each in found].count("known") == 1
    assert sum(each["suppressed"] + 1 for each in found if each["sender"] == "stranger") <= sent
    assert (child.store / "refusals").stat().st_size == 8192 * len(found) < 8192 * sent


def test_limits_and_order_of_answers(children: Children) -> None:
    """The newest comes first; `?limit=` bounds how many, and only a number does."""
    child = children(source("demo"))
    child.start()
    for number in range(3):
        tried = b"%d" % number
        eventually(partial(_is_newest, child, tried))
    assert _bodies(child)[0] == "2"
    assert [each["body"] for each in refusals(child, "demo", "?limit=1")] == ["2"]
    for bad in ("0", "x", "201", "1" * 30, "-1", ""):
        assert child.admin(f"/refusals/demo?limit={bad}").status == 400


def _is_newest(child: Child, body: bytes) -> bool:
    assert post(child, "demo", body, BEARER) == 400
    return _bodies(child)[:1] == [body.decode()]


def _bodies(child: Child) -> list[str]:
    return [each["body"] for each in refusals(child, "demo")]


def test_the_record_survives_kill_and_stop(children: Children) -> None:
    """After SIGKILL, and after a clean stop, what was refused is still told: by the server and by the command."""
    child = children(source("demo"))
    for count, end in enumerate((signal.SIGKILL, signal.SIGTERM), start=1):
        child.start()
        assert post(child, "demo", b"{", BEARER) == 400
        eventually(partial(_are_on_record, child, count))
        before = refusals(child, "demo")
        child.signal(end)
        child.wait()
        assert lines(child.cli("why", "demo", check=True).stdout) == before
    child.start()
    assert refusals(child, "demo") == before
    assert lines(child.cli("why", "demo", "--limit", "1", check=True).stdout) == before[:1]


def _are_on_record(child: Child, count: int) -> bool:
    return len(refusals(child, "demo")) == count


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_drain_writes_the_record(children: Children) -> None:
    """What was refused right before SIGTERM is on record after the end."""
    child = children(source("demo"))
    child.start()
    assert post(child, "demo", b"{", BEARER) == 400
    assert child.stop() == 0
    [found] = lines(child.cli("why", "demo", check=True).stdout)
    assert found["body"] == "{"


def test_the_command_knows_its_sources(children: Children) -> None:
    """A source without refusals is no failure, one that nobody knows is."""
    child = children(source("demo"))
    child.start()
    done = child.cli("why", "demo")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no refused request" in done.stderr
    done = child.cli("why", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no source 'nobody'" in done.stderr


def test_reloads_beside_refusals_lose_nothing(children: Children) -> None:
    """A source that is taken out and put back while its requests are refused keeps its record."""
    child = children(source("demo") + source("other"))
    child.start()
    for number in range(4):
        assert post(child, "other", b"{", BEARER) == 400
        assert post(child, "demo", b"{", {"Authorization": "Bearer x"}) == 401
        child.write(source("other") + (source("demo") if number % 2 else ""))
        child.reload()
    for name, kind in (("demo", "stranger"), ("other", "known")):
        eventually(partial(refusals, child, name))
        assert {each["sender"] for each in refusals(child, name)} == {kind}
    assert child.stop() == 0


def test_a_record_that_fails_hinders_nothing(children: Children) -> None:
    """Where the file cannot be written, requests are refused and accepted as ever, and the log says it."""
    child = children(source("demo"))
    (child.store / "refusals").mkdir(parents=True)
    child.store.chmod(0o700)
    child.start()
    assert post(child, "demo", b"{", BEARER) == 400
    child.wait_for_line("refusals cannot be recorded")
    assert post(child, "demo", EVENT, BEARER) == 200
    assert refusals(child, "demo") == []
    assert child.stop() == 0


@pytest.mark.parametrize("name", ["standard-webhooks", "slack"])
def test_known_by_its_signature_alone(children: Children, name: str) -> None:
    """A source without tokens knows its senders by their signatures: then the body is shown, else never."""
    child = children(by_signature("hook", name) if name == "slack" else _standard())
    child.start()
    body = b'{"id": 1'
    headers = _sign_standard(body) if name != "slack" else signed(name, body)
    assert post(child, "hook", body, headers) == 400
    found = only(child, "hook")
    assert (found["sender"], found["body"]) == ("known", '{"id": 1')


def _standard() -> str:
    return source("hook", tokens=[], signing_secrets=["c2VjcmV0"], signature="standard-webhooks")


def _sign_standard(body: bytes) -> dict[str, str]:
    return SCHEMES["standard-webhooks"].sign(Message(body, b"secret", "evt-1", "made", int(time.time())))


def test_refusals_are_counted_by_source(children: Children) -> None:
    """By the source that was named, where it exists, and by code; each pair is there at 0 from the start."""
    child = children(source("demo") + source("quiet"))
    child.start()
    before = child.metrics()
    assert 'tidegate_source_last_accepted_timestamp_seconds{source="demo"}' not in before
    for name, body, headers in (("demo", EVENT, {}), ("demo", b"{", BEARER), ("nobody", EVENT, BEARER)):
        assert post(child, name, body, headers) in (400, 401)
    started = time.time()
    assert post(child, "demo", EVENT, BEARER) == 200
    eventually(lambda: 'tidegate_source_last_accepted_timestamp_seconds{source="demo"}' in child.metrics())
    after = child.metrics()
    assert after['tidegate_source_last_accepted_timestamp_seconds{source="demo"}'] >= int(started)
    refused = {name: value for name, value in after.items() if name.startswith("tidegate_source_refused_total")}
    assert {name for name, value in refused.items() if value} == {
        'tidegate_source_refused_total{code="unauthorized",source="demo"}',
        'tidegate_source_refused_total{code="invalid_json",source="demo"}',
    }
    assert refused.keys() == {name for name in before if name.startswith("tidegate_source_refused_total")}
    assert not any("nobody" in name for name in after)


def warnings(child: Child) -> dict[str, str]:
    return {each["warning"]: each["message"] for each in child.admin("/readyz").json["warnings"]}


def test_a_changed_secret_is_suspected(children: Children) -> None:
    """Ten wrong tokens after a right one warn, with the command that says more; the next right one ends it."""
    child = children(source("demo"))
    child.start()
    assert post(child, "demo", EVENT, BEARER) == 200
    eventually(lambda: 'tidegate_source_last_accepted_timestamp_seconds{source="demo"}' in child.metrics())
    for _ in range(10):
        assert warnings(child) == {}
        assert post(child, "demo", EVENT, {"Authorization": f"Bearer {OTHER}"}) == 401
    assert "tidegate why demo" in warnings(child)["secret_changed"]
    assert post(child, "demo", EVENT, BEARER) == 200
    eventually(lambda: warnings(child) == {})


def test_a_silent_source_warns_readiness(children: Children) -> None:
    """Who expects to hear from a source is warned when nothing was accepted for so long, refusals or none."""
    child = children(source("demo", expect_every_seconds=0.01) + source("other"))
    child.start()
    assert post(child, "demo", b"{", BEARER) == 400
    eventually(lambda: warnings(child).keys() == {"silent"})
    assert warnings(child)["silent"].startswith("source demo: nothing was accepted for ")
    found = {name: value for name, value in child.metrics().items() if name.startswith("tidegate_source_silent")}
    assert found == {'tidegate_source_silent{source="demo"}': 1}
    child.write(source("demo", expect_every_seconds=3600))
    child.reload()
    assert warnings(child) == {}
