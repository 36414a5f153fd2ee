"""JSON text of whatever was read."""

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from server.base.json_text import _deep, json_text

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_deep_way_writes_the_same(value: object) -> None:
    """The way for deep values gives byte for byte what the encoder gives."""
    assert _deep(value) == orjson.dumps(value)


def test_nesting_at_the_parsers_limit_is_written() -> None:
    """What the parser reads at its deepest is written again, though the encoder alone gives up."""
    text = b'{"a":' * 500 + b"[" * 500 + b"1" + b"]" * 500 + b"}" * 500
    value: Any = orjson.loads(text)
    assert json_text(value) == text
    assert json_text(value, indent=True) == text


def test_integers_of_any_size_are_written() -> None:
    """A result may hold one that orjson does not write; digits that the reader kept are all there."""
    value = {"a": [-(2**70), 2**64, 10**400, 1.5, True, None]}
    assert json.loads(json_text(value)) == json.loads(json_text(value, indent=True)) == value


def test_indent_is_for_people() -> None:
    """Indented text says the same on several lines."""
    assert json.loads(json_text({"a": [1]}, indent=True)) == {"a": [1]}
    assert b"\n" in json_text({"a": [1]}, indent=True)
    assert b"\n" not in json_text({"a": [1]})


@given(VALUES)
def test_text_is_equal_and_harmless(value: object) -> None:
    """It reads back as the same value, and every character of it is printable."""
    text = json_text(value)
    assert orjson.loads(text) == orjson.loads(orjson.dumps(value))
    assert text.decode().isprintable()


def test_controls_beyond_ascii_are_escaped() -> None:
    """What a terminal obeys, what ends a line and what turns text around; letters of any script stay."""
    assert (
        json_text("\x9b2J\x7f\u2028\u202e\U000e0041 é日😀")
        == r'"\u009b2J\u007f\u2028\u202e\udb40\udc41 é日😀"'.encode()
    )
