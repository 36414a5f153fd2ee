"""Bodies of SDKs: the key is found and taken out, the type put in, and all else stays as it was written."""

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.intake.parse import Body, parse
from server.intake.sdk_bodies import WRITE_KEY as MEMBER
from server.intake.sdk_bodies import key_in, prepared
from server.intake.secret_members import _cut

WRITE_KEY = MEMBER.name
KEY = "wk-secret-0123456789"

NAMES = ("writeKey", "batch", "type", "a", 'x"writeKey', "write", "\\", "é")
VALUES = ("writeKey", '"writeKey":', '\\"writeKey\\":"', "é", "\U0001f600", "", "a,b", "}]", "\\")

scalars = st.one_of(st.none(), st.booleans(), st.integers(-(10**25), 10**25), st.sampled_from(VALUES), st.text())
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
items = st.dictionaries(st.sampled_from(NAMES), values, max_size=4)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """A body with the key at some of the places where SDKs put it, and with other members of that name further down."""
    body: dict[str, Any] = draw(st.dictionaries(st.sampled_from(NAMES), values, max_size=4))
    if draw(st.booleans()):
        body["batch"] = draw(st.lists(items | scalars, max_size=3))
    found = body.get("batch")
    for each in (body, *(found if isinstance(found, list) else ())):
        if isinstance(each, dict) and draw(st.booleans()):
            each[WRITE_KEY] = draw(st.just(KEY) | st.just([KEY, {WRITE_KEY: KEY}]))
        elif isinstance(each, dict):
            each.pop(WRITE_KEY, None)
    return body


def written(value: Any, draw: random.Random) -> str:
    """JSON with white space and escapes wherever they may be."""
    blank = draw.choice(["", "", " ", "\n\t "])
    if isinstance(value, dict):
        shuffled = draw.sample(list(value.items()), len(value))
        members = [f"{_text(name, draw)}{blank}:{blank}{written(each, draw)}" for name, each in shuffled]
        return f"{{{blank}{f'{blank},{blank}'.join(members)}{blank}}}"
    if isinstance(value, list):
        return f"[{blank}{f'{blank},{blank}'.join(written(each, draw) for each in value)}{blank}]"
    return _text(value, draw) if isinstance(value, str) else json.dumps(value)


def _text(text: str, draw: random.Random) -> str:
    written = json.dumps(text, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.3 and text.isalpha() and text.isascii():
        at = draw.randrange(len(text))
        escape = draw.choice([f"\\u{ord(text[at]):04x}", f"\\u{ord(text[at]):04X}"])
        return f'"{text[:at]}{escape}{text[at + 1 :]}"'
    return written


def without_keys(body: dict[str, Any]) -> dict[str, Any]:
    left = {name: value for name, value in body.items() if name != WRITE_KEY}
    if isinstance(left.get("batch"), list):
        batch = left["batch"]
        left["batch"] = [
            {name: value for name, value in each.items() if name != WRITE_KEY} if isinstance(each, dict) else each
            for each in batch
        ]
    return left


def opened(text: str | bytes) -> Body:
    found = parse(text.encode() if isinstance(text, str) else text, 10_000)
    assert isinstance(found, Body)
    return found


def done(text: str | bytes, kind: str = "") -> Body:
    found = prepared(opened(text), kind)
    assert isinstance(found, Body)
    return found


@given(bodies(), st.randoms(use_true_random=False))
def test_all_but_the_keys_stays(body: dict[str, Any], draw: random.Random) -> None:
    """What is left says the same without the keys of body and items, every digit of it; nothing of the key is left."""
    text = written(body, draw)
    made = done(text)
    assert json.loads(made.text) == without_keys(body)
    assert orjson.loads(made.text) == made.value
    assert KEY.encode() not in made.text
    assert json.loads(_cut(text.encode(), MEMBER._spans(text.encode()))) == without_keys(body)


@given(bodies(), st.randoms(use_true_random=False))
def test_bodies_without_a_key_stay(body: dict[str, Any], draw: random.Random) -> None:
    """A body without a key is what it was, the same object."""
    found = opened(written(without_keys(body), draw))
    assert prepared(found, "") is found


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"writeKey":"k","a":1}', '{"a":1}'),
        ('{"a":1,"writeKey":"k"}', '{"a":1}'),
        ('{"a":1,"writeKey":"k","b":2}', '{"a":1,"b":2}'),
        ('{"writeKey":"k"}', "{}"),
        ('{"writeKey":1,"writeKey":2}', "{}"),
        ('{"a":1,"writeKey":1,"writeKey":2}', '{"a":1}'),
        ('{"writeKey":1,"a":1,"writeKey":{"b":[1,"}"]}}', '{"a":1}'),
        ('{"a":12345678901234567890123,"writeKey":null}', '{"a":12345678901234567890123}'),
        ('{"batch":[{"writeKey":"k"}],"batch":[{"a":1}]}', '{"batch":[{}],"batch":[{"a":1}]}'),
        ('{"a":"\\ud83d","\\u0077riteKey":"k"}', '{"a":"\\ufffd"}'),
        ('[{"writeKey":"k"}]', '[{"writeKey":"k"}]'),
        ('{"batch":{"writeKey":"k"}}', '{"batch":{"writeKey":"k"}}'),
        ('{"batch":[[{"writeKey":"k"}]]}', '{"batch":[[{"writeKey":"k"}]]}'),
    ],
)
def test_keys_leave_with_their_commas(text: str, left: str) -> None:
    """Wherever a key stands, and how often, the rest is as it was written."""
    assert done(text).text == left.encode()


def test_a_cut_text_has_other_values() -> None:
    """Where half a surrogate pair was repaired, both readings and the text as sent are without the key."""
    made = done('{"a":"\\ud83d","writeKey":"k"}', "track")
    assert made.as_sent == b'{"a":"\\ud83d","type":"track"}'
    assert made.value == {"a": "\ufffd", "type": "track"}
    assert made.other_value == {"a": "\ufffe", "type": "track"}


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{}", '{"type":"page"}'),
        (' {"a":1} ', ' {"a":1,"type":"page"}'),
        ('{"writeKey":"k"}', '{"type":"page"}'),
        ('{"type":null}', '{"type":null,"type":"page"}'),
        ('{"type":"track"}', '{"type":"track"}'),
        ('{"type":""}', '{"type":""}'),
        ('{"batch":null}', '{"batch":null,"type":"page"}'),
        ('{"batch":[{}]}', '{"batch":[{}]}'),
        ("[]", "[]"),
        ("7", "7"),
    ],
)
def test_a_route_gives_a_missing_type(text: str, made: str) -> None:
    """One event without a type gets that of its route, as if it had been sent with it; nothing else does."""
    found = done(text, "page")
    assert found.text == made.encode()
    assert orjson.loads(found.text) == found.value


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"writeKey": "a"}, b"a"),
        ({"writeKey": "a", "batch": [{"writeKey": "b"}]}, b"a"),
        ({"writeKey": None, "batch": [{"writeKey": "b"}, {"writeKey": "c"}]}, b"b"),
        ({"batch": [{}, {"writeKey": "c"}]}, b""),
        ({"writeKey": "", "batch": [{"writeKey": "b"}]}, b""),
        ({"writeKey": 7, "batch": [{"writeKey": "b"}]}, b""),
        ({"context": {"writeKey": "a"}}, b""),
        ({"batch": "writeKey"}, b""),
        ([{"writeKey": "a"}], b""),
        ("writeKey", b""),
        (None, b""),
    ],
)
def test_the_first_place_tells_the_key(body: object, key: bytes) -> None:
    """The body's own key counts, or else its first item's; null is missing, anything but a text is none."""
    assert key_in(body) == key
