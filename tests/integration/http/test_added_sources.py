"""What `tidegate source` prints opens the source that it has added, once the running server has reloaded."""

import os
import time
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from server.cli.providers import PROVIDERS
from server.intake.claims import Message
from server.intake.schemes import SCHEMES
from tests.support.client import Response
from tests.support.config import source
from tests.support.server import Child, Children, run_here

GIVEN = "c2VjcmV0LW9mLXRoZS12ZW5kb3I="
"""A secret of a vendor's, which is base64 as well, as one of the schemes wants it."""

BODY = b'{"id":"evt-1","type":"track","messageId":"evt-1","event":"made"}'


def changed(child: Child, *arguments: str, given: str = GIVEN) -> dict[str, Any]:
    """What the command printed, after the server has taken it over."""
    environment = os.environ | {"GIVEN": given}
    done = run_here("source", *arguments, "--config", str(child.config), environment=environment)
    assert done.returncode == 0, done
    assert child.reload()[-1]["event"] == "reloaded"
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found


def body_of(value: Mapping[str, Any]) -> bytes:
    """What a sender who has what was printed sends."""
    if value["signature"] != "microsoft-graph":
        return BODY
    return orjson.dumps({"value": [{"id": "evt-1", "changeType": "created", "clientState": value["secret"]}]})


def headers(value: Mapping[str, Any], given: str = GIVEN) -> dict[str, str]:
    """The headers of a sender who has what was printed, or the secret that its vendor has made."""
    found = {"Content-Type": "application/json"}
    if value["signature"]:
        scheme = SCHEMES[value["signature"]]
        key = scheme.key(value.get("secret", given).encode())
        found |= scheme.sign(Message(BODY, key, "evt-1", "made", int(time.time())))
    if "token" in value:
        found["Authorization"] = f"Bearer {value['token']}"
    return found


def send(child: Child, sent: Mapping[str, str], body: bytes = BODY) -> Response:
    return child.request("POST", "/ingest/inbound/new", body, dict(sent))


@pytest.mark.parametrize("name", ["segment", "webhook", *PROVIDERS])
def test_what_was_printed_opens_the_source(children: Children, name: str) -> None:
    """A source that was added beside another takes what is sent with the printed token or secret, and nothing else."""
    child = children(source("old"))
    with child:
        kind = "segment" if name == "segment" else "webhook"
        arguments = ["--provider", name] if name in PROVIDERS else []
        given = ["--secret-from", "env:GIVEN"] if name in PROVIDERS and PROVIDERS[name].secret else []
        value = changed(child, "add", "new", "--type", kind, *arguments, *given)
        assert send(child, headers(value), body_of(value)).status == 200
        assert send(child, {"Content-Type": "application/json"}).status == 401
        assert child.post("old", {"id": 1}).status == 200


@pytest.mark.parametrize("name", ["webhook", "github", "stripe"])
def test_old_and_new_are_both_accepted(children: Children, name: str) -> None:
    """After `rotate` the sender may change at any time; after `retire` the old one is refused."""
    child = children(source("old"))
    with child:
        is_given = name == "stripe"
        arguments = ["--provider", name] if name in PROVIDERS else []
        given = ["--secret-from", "env:GIVEN"] if is_given else []
        first = changed(child, "add", "new", "--type", "webhook", *arguments, *given)
        second = changed(child, "rotate", "new", *given, given="another")
        old, new = headers(first), headers(second, given="another")
        assert [send(child, each).status for each in (old, new)] == [200, 200]
        changed(child, "retire", "new")
        assert [send(child, each).status for each in (old, new)] == [401, 200]


def test_meta_gets_its_question_answered(children: Children) -> None:
    """The verify token that was printed is the one that Meta's question is compared with."""
    child = children(source("old"))
    with child:
        arguments = ["--provider", "meta", "--secret-from", "env:GIVEN"]
        value = changed(child, "add", "new", "--type", "webhook", *arguments)
        question = f"hub.mode=subscribe&hub.challenge=123&hub.verify_token={value['verify_token']}"
        answer = child.request("GET", f"/ingest/inbound/new?{question}")
        assert (answer.status, answer.body) == (200, b"123")
