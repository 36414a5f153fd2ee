"""What is recorded of a refused delivery: nothing of a secret, however a body has it."""

import json
from urllib.parse import quote

import pytest

from server.base.refusal import refuse
from server.base.source import Source
from server.http.grounds import grounds_of
from server.intake.headers import scan
from server.intake.intake import DeliveryHead
from storage.refusals.records import BODY_BYTES_MAX

TOKEN = "a/long+token of the söurce".replace(" ", "-")
SECRET = f"{TOKEN}-and-more"
SOURCE = Source("demo", "webhook", (b"d" * 32,), signing_secrets=(SECRET.encode(),))
REFUSAL = refuse("invalid_json", "the body is not JSON")


def shown(body: bytes) -> bytes:
    head = DeliveryHead("demo", f"Bearer {TOKEN}".encode(), scan([]), len(body), "192.0.2.1")
    return grounds_of(SOURCE, head, REFUSAL, body, is_verified=True).body


@pytest.mark.parametrize("before", range(0, len(SECRET), 5))
def test_no_part_of_a_secret_is_shown(before: int) -> None:
    """A body full of secrets has none where it is cut either, though each that is masked makes room for more."""
    found = shown(b"x" * before + SECRET.encode() * BODY_BYTES_MAX)
    assert set(found) <= set(b"x*")
    assert found.count(b"***") > BODY_BYTES_MAX // len(SECRET) // 2


def test_secrets_are_masked_however_written() -> None:
    """As they are, as JSON writers escape them and as forms do; a token that begins a secret leaves no rest of that."""
    for secret in (TOKEN, SECRET):
        escaped = json.dumps(secret)[1:-1]
        for way in (secret, escaped, escaped.replace("/", r"\/"), quote(secret, safe="")):
            assert shown(f'{{"a": "{way}"'.encode()) == b'{"a": "***"'


def test_a_body_without_secrets_is_cut() -> None:
    """Of a long one the beginning is kept as it is, of a short one all."""
    assert shown(b"y" * 9999) == b"y" * BODY_BYTES_MAX
    assert shown(b"y" * BODY_BYTES_MAX) == b"y" * BODY_BYTES_MAX


@pytest.mark.parametrize(
    ("source", "member"),
    [
        (Source("app", "segment", (b"d" * 32,)), "writeKey"),
        (Source("graph", "webhook", (), (b"one",), (b"k" * 32,), "microsoft-graph"), "clientState"),
    ],
)
def test_a_member_that_is_secret_is_masked(source: Source, member: str) -> None:
    """Whatever its text is, escaped or cut off; in a body of another source it is a member like others."""
    head = DeliveryHead(source.id, None, scan([]), None, "192.0.2.1")
    for name in (member, f"\\u{ord(member[0]):04x}{member[1:]}"):
        for body in (f'{{"a":[{{"{name}" : "any\\"thing"}}],"b":1}}', f'{{"{name}":"any\\"thi', f'{{"{name}":"any\\\\'):
            found = grounds_of(source, head, REFUSAL, body.encode(), is_verified=True).body
            assert b"any" not in found
            assert b"thi" not in found
            assert b"***" in found
            assert shown(body.encode()) == body.encode()
