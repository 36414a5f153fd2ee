"""Change notifications of Microsoft Graph on the running server: what authenticates them, what is kept of them."""

import gzip
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.write.recovery import recover
from tests.integration.test_commands import counts, name_ports
from tests.integration.test_commands import send as send_command
from tests.support.client import Response
from tests.support.config import TOKEN, source
from tests.support.ledger import pending, totals
from tests.support.server import Child, Children
from tests.support.waiting import HANG_SECONDS, eventually

STATE, OTHER = "client-state-of-the-tests-5dc1a7", "client-state-of-nobody-0e9b44"
PATH = "/ingest/inbound/graph"


def config(**keys: object) -> str:
    return source(
        "graph", **{"tokens": [], "signing_secrets": [STATE], "signature": "microsoft-graph", "paused": True, **keys}
    )


def change(event_id: str | None = "evt-1", state: object = STATE, **members: object) -> dict[str, object]:
    """A notification as Graph's documentation shows it."""
    named = {} if event_id is None else {"id": event_id}
    return {
        **named,
        "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
        "subscriptionExpirationDateTime": "2026-11-22T18:23:45.9356913Z",
        "clientState": state,
        "changeType": "created",
        "resource": "users/1/messages/2",
        "tenantId": "84bd8158-6d4d-4958-8b9f-9d6445542f95",
        "resourceData": {"@odata.type": "#Microsoft.Graph.Message", "id": "2", "clientState": "of the data"},
        **members,
    }


def body(*changes: dict[str, object], **members: object) -> bytes:
    return json.dumps({"value": changes, **members}).encode()


def post(child: Child, data: bytes, query: str = "", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return child.request("POST", PATH + query, data, {"Content-Type": "application/json", **named})


def event(child: Child, event_id: str) -> dict[str, Any]:
    found: dict[str, Any] = child.admin(f"/events/graph/{event_id}").json
    return found


def refusal(child: Child, words: str, source_id: str = "graph") -> dict[str, Any]:
    """The refusal with these words, as soon as it is on record."""

    def those() -> list[dict[str, Any]]:
        return [each for each in child.admin(f"/refusals/{source_id}").json.get("refusals", []) if words in each["why"]]

    eventually(those)
    [found] = those()
    return found


def stored_bodies(child: Child) -> list[bytes]:
    """The text of every delivery, after the server has ended."""
    recover(child.store)
    store = Store.open(child.store, mode="read")
    try:
        spans = Reader(store).spans(range(1, 100))
        found = [text for span in spans if span.numbered is not None for text in span.numbered.deliveries.bodies]
    finally:
        store.close()
    return found


def ask(child: Child, query: str, path: str = PATH, data: bytes = b"") -> bytes:
    """The whole answer to a question as Graph asks it, its clock aside."""
    head = f"POST {path}?{query} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain; charset=utf-8\r\n"
    with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    return re.sub(rb"(?i)\r\ndate: [^\r]*", b"", answer)


def test_a_client_state_is_enough(children: Children) -> None:
    """Each item is an event, with its own id and the kind of its change; the secret is in none, nor in the archive."""
    child = children(config())
    child.start()
    lifecycle = change("evt-2", lifecycleEvent="missed")
    sent = body(change(), lifecycle, validationTokens=["kept"])
    answer = post(child, sent)
    assert (answer.status, answer.json["accepted"]) == (200, 2)
    first, second = event(child, "evt-1"), event(child, "evt-2")
    assert (first["event_type"], second["event_type"]) == ("created", "missed")
    assert (first["provider_event_id"], first["meta"]["id_from"]) == ("evt-1", "body.id")
    assert (second["meta"]["batch_index"], second["meta"]["batch_size"]) == (1, 2)
    expected = change()
    del expected["clientState"]
    assert first["payload"] == expected
    assert "unsigned" not in first["meta"]
    assert child.stop() == 0
    [text] = stored_bodies(child)
    assert text == sent.replace(f'"clientState": "{STATE}", '.encode(), b"")
    assert not [path for path in child.store.rglob("*") if path.is_file() and STATE.encode() in path.read_bytes()]


def test_every_body_without_it_is_401(children: Children) -> None:
    """The same bytes as for a source that does not exist, whatever is wrong, and nothing is kept."""
    child = children(config())
    child.start()
    whole = child.request("POST", "/ingest/inbound/nobody", body(change()), {})
    assert whole.status == 401
    for data, headers in (
        (body(change(state=OTHER)), {}),
        (body(change(), change(state=OTHER)), {}),
        (body(change(), change(state=None)), {}),
        (body(change(state=[STATE])), {}),
        (body(), {}),
        (json.dumps(change()).encode(), {}),
        (json.dumps({"value": change()}).encode(), {}),
        (json.dumps([change()]).encode(), {}),
        (body(change())[:-1], {}),
        (body(change()).decode().encode("utf-16"), {}),
        (body(change()).decode().encode("utf-32"), {}),
        (b"", {}),
        (b"a=b", {"Content_Type": "application/x-www-form-urlencoded"}),
        (body(change()), {"Content_Encoding": "gzip"}),
        (body(change()), {"Content_Encoding": "br"}),
        (gzip.compress(b" " * 2**21 + body(change())), {"Content_Encoding": "gzip"}),
        (body(change(state=OTHER)), {"Authorization": f"Bearer {TOKEN}"}),
        (body(change(state=OTHER)), {"Authorization": f"Bearer {STATE}"}),
        (body({"resourceData": change()}), {}),
        (body(change(state=STATE.upper())), {}),
    ):
        answer = post(child, data, **headers)
        assert (answer.status, answer.body, answer.headers.keys()) == (401, whole.body, whole.headers.keys())
    assert "graph" not in totals(child)


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ('{"client\\u0053tate": "STATE", "id": "e"}', '{ "id": "e"}'),
        ('{"clientState": "x", "id": "e", "clientState": "STATE"}', '{ "id": "e"}'),
        (
            '{"id": "e", "clientState": "STATE", "n": 12345678901234567890123.40}',
            '{"id": "e",  "n": 12345678901234567890123.40}',
        ),
        ('{"clientState": "STATE", "id": "e", "a": "\\ud83d"}', '{ "id": "e", "a": "\\ufffd"}'),
    ],
)
def test_odd_ways_to_write_it_are_cut(children: Children, written: str, left: str) -> None:
    """Escaped, twice, beside long numbers and cut texts, after a byte order mark, packed and in chunks."""
    child = children(config())
    child.start()
    text = f'{{"value": [{written.replace("STATE", STATE)}]}}'.encode()
    packed = gzip.compress(b"\xef\xbb\xbf" + text)
    pieces = b"".join(
        b"%x\r\n%b\r\n" % (len(packed[at : at + 50]), packed[at : at + 50]) for at in range(0, len(packed), 50)
    )
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"
    with socket.create_connection(("127.0.0.1", child.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(head.encode() + b"Connection: close\r\n\r\n" + pieces + b"0\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert child.stop() == 0
    assert stored_bodies(child) == [f'{{"value": [{left}]}}'.encode()]


def test_either_of_two_secrets_opens(children: Children) -> None:
    """While a new one stands beside the old one, each item may have either."""
    child = children(config(signing_secrets=["new", STATE]))
    child.start()
    assert post(child, body(change("a"), change("b", "new"))).json["accepted"] == 2
    assert post(child, body(change("c", OTHER))).status == 401


def test_bad_items_are_rejected_by_index(children: Children) -> None:
    """An item with a right secret that is no event is named, and the others are taken."""
    child = children(config())
    child.start()
    answer = post(child, body(change("a"), change("b", changeType=7), change({}), change("c")))  # type: ignore[arg-type]
    assert (answer.status, answer.json["accepted"]) == (200, 2)
    assert [each["index"] for each in answer.json["rejected"]] == [1, 2]


def test_notifications_without_ids_may_be_hashed(children: Children) -> None:
    """`hash` makes equal notifications duplicates, whichever secret they came with; by default none ever is."""
    child = children(
        config(signing_secrets=[STATE, OTHER], missing_event_id="hash", paused=False)
        + config(paused=False).replace("graph]", "all]")
    )
    child.start()
    for state in (STATE, OTHER):
        assert post(child, body(change(None, state), change(None, state, resource="users/1/messages/3"))).status == 200
        assert child.request("POST", "/ingest/inbound/all", body(change(None)), {}).status == 200
    eventually(lambda: pending(child, "graph") == pending(child, "all") == 0)
    assert (totals(child)["graph"]["processed"], totals(child)["graph"]["duplicate"]) == (2, 2)
    assert (totals(child)["all"]["processed"], totals(child)["all"]["duplicate"]) == (2, 0)


def test_its_refusals_hold_no_secret(children: Children) -> None:
    """Why it was refused is on record, the secret of a body that proved right is not, however it is written."""
    child = children("[limits]\nbatch_events_max = 1\n" + config() + config().replace("graph]", "asked]"))
    child.start()
    assert post(child, body(change(), change(state=OTHER))).status == 401
    assert "body" not in refusal(child, "signature: the `clientState` of item 1 is none of this source's secrets")
    assert post(child, body(change(), change()).replace(b"client-state", rb"\u0063lient-state")).status == 413
    found = refusal(child, "the batch holds more than 1 items")
    assert (found["code"], found["body"].count('"clientState": "***"')) == ("too_large", 4)
    assert ask(child, "validationToken=a%00b", "/ingest/inbound/asked").startswith(b"HTTP/1.1 401 ")
    refusal(child, "handshake: a POST that asks has one validationToken of printable", "asked")
    content = (child.store / "refusals").read_bytes()
    assert [each for each in (STATE, STATE[1:], OTHER, "a%00b") if each.encode() in content] == []


def test_unverified_bodies_are_small(children: Children) -> None:
    """A stranger's body may have 1 MiB, decoded too, unless the source says more; a token makes its sender known."""
    limits = f"[limits]\nbody_bytes_max = {2**22}\ndecoded_bytes_max = {2**22}\n"
    large = {"body_bytes_max": 2**22, "decoded_bytes_max": 2**22}
    child = children(
        limits
        + config()
        + config(**large).replace("graph]", "large]")
        + config(tokens=[TOKEN]).replace("graph]", "both]")
    )
    child.start()
    fits, over = (b" " * (2**20 + more) + body(change()) for more in (-2000, 1))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    packed = {"Content-Encoding": "gzip"}
    for data, name, status in ((fits, "graph", 200), (over, "graph", 413), (over, "large", 200), (over, "both", 200)):
        headers = bearer if name == "both" else {}
        assert child.request("POST", f"/ingest/inbound/{name}", data, headers).status == status
    for name, status in (("graph", 401), ("large", 200)):
        assert child.request("POST", f"/ingest/inbound/{name}", gzip.compress(over), packed).status == status
    assert child.request("POST", "/ingest/inbound/both", over).status == 401


def test_send_makes_right_notifications(children: Children, tmp_path: Path) -> None:
    """Samples are taken; a file gets the secret where its items lack it, and one with another stays and is refused."""
    child = children(config(paused=False))
    child.start()
    name_ports(child)
    code, summary, _ = send_command(child, "graph", "--count", "2", "--batch", "3")
    assert (code, counts(summary)) == (0, {"sent": 2, "accepted": 6})
    found = event(child, summary["last"]["event_id"])
    assert found["event_type"] == "created"
    (tmp_path / "bare.json").write_text('{"value": [{"id": "from-a-file", "changeType": "deleted"}]}')
    (tmp_path / "wrong.json").write_bytes(body(change(state=OTHER)))
    assert send_command(child, "graph", str(tmp_path / "bare.json"))[0] == 0
    assert event(child, "from-a-file")["payload"] == {"id": "from-a-file", "changeType": "deleted"}
    code, summary, _ = send_command(child, "graph", str(tmp_path / "wrong.json"))
    assert (code, summary["errors"]) == (1, {"401 unauthorized": 1})
