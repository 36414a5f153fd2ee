"""Parsing: JSON as senders write it, with a byte order mark and halves of surrogate pairs, at a bounded cost."""

import orjson
import pytest

from server.base.refusal import Refusal
from server.intake.parse import Body, parse

CONTAINERS_MAX = 100


def parsed(text: bytes) -> Body:
    found = parse(text, CONTAINERS_MAX)
    assert isinstance(found, Body), found
    return found


def test_a_byte_order_mark_is_skipped() -> None:
    """A byte order mark before the JSON is part of neither the value nor the archive; one in a string is."""
    found = parsed(b'\xef\xbb\xbf {"a": "\xef\xbb\xbf"}')
    assert (found.value, found.text) == ({"a": "\ufeff"}, b' {"a": "\xef\xbb\xbf"}')


def test_json_as_usual_stays_itself() -> None:
    """JSON without a half is archived byte for byte, whatever escapes it has."""
    text = rb'{"\ud83d\ude00": "\\ud83d \\\\uDE00 \uD83D\uDE00 \ufffd \"\\"}'
    found = parsed(text)
    assert found == Body(orjson.loads(text), text)


@pytest.mark.parametrize(
    ("escapes", "expected"),
    [
        (rb"\ud83d", r"\ufffd"),
        (rb"\uDE00", r"\ufffd"),
        (rb"\uD83D!", r"\ufffd!"),
        (rb"\ude00\ud83d", r"\ufffd\ufffd"),
        (rb"\ud83d\ud83d\ude00", r"\ufffd\ud83d\ude00"),
        (rb"\ud83d\ude00\ude00", r"\ud83d\ude00\ufffd"),
        (rb"\ud83d\n\ude00", r"\ufffd\n\ufffd"),
        (rb"\\\ud83d", r"\\\ufffd"),
        (rb"\\ud83d\ude00", r"\\ud83d\ufffd"),
        (rb"\ud83d\\ude00", r"\ufffd\\ude00"),
        (rb"\\\\ud83d\\\uDBFF\\", r"\\\\ud83d\\\ufffd\\"),
        (rb"\"\udfff\"", r"\"\ufffd\""),
        (rb"\ud7ff\ue000\udbFf", r"\ud7ff\ue000\ufffd"),
    ],
)
def test_half_a_pair_is_replaced(escapes: bytes, expected: str) -> None:
    """Half a surrogate pair becomes U+FFFD in place, in keys and strings; pairs and escaped backslashes stay."""
    found = parsed(b'[{"%b": 1}, "%b"]' % (escapes, escapes))
    assert found.text == b'[{"%b": 1}, "%b"]' % (expected.encode(), expected.encode())
    assert found.value == orjson.loads(found.text)
    assert found.as_sent == b'[{"%b": 1}, "%b"]' % (escapes, escapes)


def test_halves_differ_under_another_repair() -> None:
    """A string that held a half is another in the other value; one that holds U+FFFD by itself is the same."""
    found = parsed(rb'["\ud83d", "\ufffd", "\ud83d\ude00"]')
    assert found.value == ["\ufffd", "\ufffd", "\U0001f600"]
    assert found.other_value == ["\ufffe", "\ufffd", "\U0001f600"]


def test_containers_count_behind_a_mark() -> None:
    """The limit on arrays and objects holds behind a byte order mark, and in a body that needs a repair."""
    for text in (b"[" * 101, b"\xef\xbb\xbf" + b"[" * 101, rb'["\ud83d"' + b",[]" * 100 + b"]"):
        found = parse(text, CONTAINERS_MAX)
        assert isinstance(found, Refusal)
        assert found.code == "too_large"


def test_a_repair_hides_no_mistake() -> None:
    """A body that holds half a pair and is not JSON is refused for what is not JSON in it."""
    found = parse(rb'["\ud83d",]', CONTAINERS_MAX)
    assert isinstance(found, Refusal)
    assert "at byte 9: trailing comma" in found.message


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (b"{", 1),
        (b"NaN", 0),
        ('{"é": 1,}'.encode(), 8),
        (b'\xef\xbb\xbf{"a" 1}', 8),
        (b'{"a": "\xff"}', 7),
        (b"\xff\xfe[\x00]\x00", 0),
        (rb'["\ud83d" 1]', 10),
    ],
)
def test_mistakes_in_json_have_their_byte(text: bytes, at: int) -> None:
    """The place of a mistake is the byte in the body as it was sent, whatever comes before it."""
    found = parse(text, CONTAINERS_MAX)
    assert isinstance(found, Refusal)
    assert f"not JSON at byte {at}: " in found.message
