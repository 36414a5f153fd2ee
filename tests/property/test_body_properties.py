"""Bodies as senders write them: halves of surrogate pairs, and ids made from content, against the standard library."""

import hashlib
import json
import re
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from server.intake.content_hash import content_hashes
from server.intake.parse import Body, parse

CONTAINERS_MAX = 10_000
HALF = re.compile("[\ud800-\udfff]")

escapes = st.sampled_from([r"\ud83d", r"\uDE00", r"\uD83d\ude00", r"\\", r"\"", r"\n", r"\u0041", r"\ufffd", "a", "é"])
strings = st.lists(escapes, max_size=6).map(lambda parts: f'"{"".join(parts)}"')
numbers = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "1.0",
        "1.00",
        "1e2",
        "1E2",
        "100",
        "100.0",
        "-1.5e-7",
        "18446744073709551616",
        "1234567890.12345678",
    ]
)
spaces = st.sampled_from(["", "", " ", "\n\t\r "])


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    """The text of an object, with any keys, repeated ones too."""
    members = draw(st.lists(st.tuples(strings | st.sampled_from(['"a"', '"b"']), inner), max_size=4))
    pairs = [f"{draw(spaces)}{key}{draw(spaces)}:{value}" for key, value in members]
    return f"{{{','.join(pairs)}}}"


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    """The text of an array."""
    return f"[{draw(spaces)}{f'{draw(spaces)},'.join(draw(st.lists(inner, max_size=3)))}]"


values = st.recursive(
    numbers | strings | st.sampled_from(["null", "true", "false"]), lambda inner: objects(inner) | arrays(inner)
)


def body(text: str) -> Body:
    found = parse(text.encode(), CONTAINERS_MAX)
    assert isinstance(found, Body), found
    return found


def whole(value: Any) -> Any:
    """The value with U+FFFD for each half of a pair."""
    if isinstance(value, str):
        return HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [whole(each) for each in value]
    return {whole(key): whole(each) for key, each in value.items()} if isinstance(value, dict) else value


def sorted_model(value: Any) -> Any:
    """The value with each object as its pairs, sorted by key: what two equal items have in common."""
    if isinstance(value, tuple):
        return "object", sorted(((key, sorted_model(each)) for key, each in value), key=lambda pair: pair[0])
    return ("array", [sorted_model(each) for each in value]) if isinstance(value, list) else value


def model(text: str) -> Any:
    """What two equal items have in common; numbers are bytes."""
    return sorted_model(json.loads(text, object_pairs_hook=tuple, parse_int=str.encode, parse_float=str.encode))


@given(values)
def test_halves_are_replaced_and_nothing_else(text: str) -> None:
    """What is read is what the standard library reads, with U+FFFD for each half of a pair, and as long a text."""
    found = body(text)
    assert found.value == whole(json.loads(text))
    assert len(found.text) == len(text.encode())
    assert (found.as_sent is None) == (found.text == text.encode())


@given(st.lists(values, min_size=1, max_size=4))
def test_equal_hashes_mean_equal_items(texts: list[str]) -> None:
    """Two items of a batch have one hash if and only if they have the same canonical text; alone they have it too."""
    batch = body(f"[{','.join(texts)}]")
    hashes = content_hashes(batch, range(len(texts)), batched=True)
    assert hashes == [content_hashes(body(text), [0], batched=False)[0] for text in texts]
    models = [model(text) for text in texts]
    for left, left_hash in zip(models, hashes, strict=True):
        assert [left == right for right in models] == [left_hash == right_hash for right_hash in hashes]


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(plain, st.booleans())
def test_ordinary_values_hash_as_before(value: object, beside_odd: bool) -> None:
    """The hash of what orjson wrote is that of its sorted JSON, beside an item that is read exactly too."""
    text = orjson.dumps(value).decode()
    expected = hashlib.blake2b(orjson.dumps(value, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
    odd = r'"\ud83d"' if beside_odd else "1.00"
    assert content_hashes(body(text), [0], batched=False) == [expected]
    assert content_hashes(body(f"[{text},{odd}]"), [0], batched=True) == [expected]
