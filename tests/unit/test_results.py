"""What is kept of what a processor returns for an event."""

import json
from collections import Counter, OrderedDict, UserDict, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.flow.results import DEPTH_MAX, RESULT_BYTES_MAX, _plain, _write, result_of

Point = namedtuple("Point", "x y")  # as processors have them
ID = UUID("12345678-1234-5678-1234-567812345678")
MOMENT = datetime(2026, 2, 3, 4, 5, 6, 789000, timezone(timedelta(hours=2)))
NAN = float("nan")


def type_name(value: object) -> str:
    return type(value).__name__


class Color(Enum):
    RED = "red"
    PAIR = (1, {2})


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


class Text(str):
    __slots__ = ()


class Own:
    """A type that JSON does not know."""


@dataclass
class Order:
    total: Decimal
    tags: set[str] = field(default_factory=set)
    _private: int = 1


@dataclass(slots=True)
class Slotted:
    field: int


def nested(depth: int, kind: Any = list) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = kind([value])
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1.10"), '"1.10"'),
        (MOMENT, '"2026-02-03T04:05:06.789000+02:00"'),
        (datetime(2026, 2, 3), '"2026-02-03T00:00:00"'),  # without a zone, as processors have them
        (date(2026, 2, 3), '"2026-02-03"'),
        (time(4, 5), '"04:05:00"'),
        (ID, f'"{ID}"'),
        ({"b", "a", "ä"}, '["a","b","ä"]'),
        (frozenset({10, 9, "1"}), '["1",10,9]'),
        ({(1, 2), (1, 10)}, "[[1,10],[1,2]]"),
        (Order(Decimal("0.5"), {"y", "x"}), '{"total":"0.5","tags":["x","y"],"_private":1}'),
        (Color.RED, '"red"'),
        (Color.PAIR, "[1,[2]]"),
        (Level.HIGH, "3"),
        (Word.YES, '"yes"'),
        (Text("own"), '"own"'),
        (Point(1, 2), "[1,2]"),
        (OrderedDict(a=1), '{"a":1}'),
        (Counter("aab"), '{"a":2,"b":1}'),
        (2**64, "18446744073709551616"),
        (-(10**40) - 1, "-10000000000000000000000000000000000000001"),
        (10**400, "1" + "0" * 400),
        (-0.0, "-0.0"),
        (1e300, "1e+300"),
        (orjson.Fragment(b' {"a":\n1}'), '{"a":1}'),
    ],
    ids=type_name,
)
@pytest.mark.parametrize("deep", [False, True])
def test_more_than_json_types_are_written(value: object, text: str, deep: bool) -> None:
    """As one would expect, alone and inside of others; a set in the order of its members' text."""
    assert result_of({"a": [(value,)]} if deep else value) == ((f'{{"a":[[{text}]]}}' if deep else text).encode(), True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.int8(-3), "-3"),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.1), "0.1"),
        (np.float16(0.5), "0.5"),
        (np.longdouble(1.5), "1.5"),
        (np.True_, "true"),
        (np.str_("a"), '"a"'),
        (np.datetime64("2026-02-03T04:05:06"), '"2026-02-03T04:05:06"'),
        (np.arange(4).reshape(2, 2), "[[0,1],[2,3]]"),
        (np.arange(4).reshape(2, 2).T, "[[0,2],[1,3]]"),
        (np.array([0.5, 0.25], dtype=">f4"), "[0.5,0.25]"),
        (np.array([True]), "[true]"),
        (np.array(7), "7"),
        (np.array(["a", "b"]), '["a","b"]'),
        (np.array([1.5], dtype=np.longdouble), "[1.5]"),
        (np.array([{1}, None], dtype=object), "[[1],null]"),
        (np.array([]), "[]"),
    ],
    ids=type_name,
)
@pytest.mark.parametrize("deep", [False, True])
def test_values_of_numpy_are_written(value: object, text: str, deep: bool) -> None:
    """Scalars and arrays, whatever their kind and order in memory."""
    assert result_of([value] if deep else value) == ((f"[{text}]" if deep else text).encode(), True)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (1, "1"),
        (2**70, str(2**70)),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (ID, str(ID)),
        (date(2026, 2, 3), "2026-02-03"),
        (Color.RED, "red"),
        (Level.HIGH, "3"),
        (Text("own"), "own"),
        (Decimal("1.0"), "1.0"),
        (np.int64(4), "4"),
    ],
    ids=type_name,
)
def test_keys_of_other_types_become_strings(key: object, text: str) -> None:
    """By their own text."""
    assert result_of({key: {"a"}}) == (f'{{"{text}":["a"]}}'.encode(), True)


def generator() -> Iterator[int]:
    yield 1


class Raises(Decimal):
    def __str__(self) -> str:
        raise SystemExit(3)


class Listed(list[Any]):
    """Its own methods are not asked."""

    def __iter__(self) -> Iterator[Any]:
        raise SystemExit(3)

    def __eq__(self, other: object) -> bool:
        raise SystemExit(3)

    __hash__ = None


def empty_slot() -> Slotted:
    value = Slotted(1)
    del value.field
    return value


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "object"),
        (1j, "complex"),
        (b"bytes", "bytes"),
        (NAN, "float"),
        (float("-inf"), "float"),
        (Decimal("NaN"), "Decimal"),
        (np.float64(NAN), "float64"),
        (np.float32("inf"), "float32"),
        (np.longdouble("1e4000"), "longdouble"),
        (np.array([1.0, NAN]), "float64"),
        (np.array([NAN], dtype=object), "float"),
        (np.datetime64("NaT"), "datetime64"),
        (np.complex128(1), "complex128"),
        (np.timedelta64(1, "s"), "timedelta64"),
        (timedelta(1), "timedelta"),
        (Fraction(1, 3), "Fraction"),
        (generator(), "generator"),
        (range(3), "range"),
        (UserDict(a=1), "UserDict"),
        (ValueError("nested"), "ValueError"),
        (Own(), "Own"),
        (Own, "type"),
        ("\ud800", "str"),
        ({"\ud800": 1}, "str"),
        ({(1, 2): 1}, "tuple"),
        ({NAN: 1}, "float"),
        ({1j: 1}, "complex"),
        (frozenset({NAN}), "float"),
        (Order(Decimal("Infinity")), "Decimal"),
        (empty_slot(), "Slotted"),
        (Raises(1), "Raises"),
        (circle(), "list"),
        (nested(DEPTH_MAX + 2), "list"),
        (nested(DEPTH_MAX + 2, tuple), "tuple"),
        (10**5000, "int"),
        *((orjson.Fragment(text), "Fragment") for text in (b"not json", b"1 2", b"\xff", b"1e400", b"[" * 2000)),
    ],
    ids=type_name,
)
@pytest.mark.parametrize("deep", [False, True])
def test_the_type_that_cannot_be_is_named(value: object, name: str, deep: bool) -> None:
    """The innermost one, wherever it is; what orjson writes as null or ends at is found."""
    expected = (b'{"unserialisable":"%b"}' % name.encode(), False)
    assert result_of({"a": [1, (value,)]} if deep else value) == expected


def test_foreign_iterators_are_not_asked() -> None:
    """A list is what is in it, whatever its class says."""
    assert result_of({"a": Listed([1, 2])}) == (b'{"a":[1,2]}', True)


def test_any_type_has_a_name() -> None:
    """One that is made at run time may be of any length, and its metaclass may not tell it."""

    class Nameless(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise ValueError("no name")

    text, is_kept = result_of(Nameless("ä" * 1000, (), {})())
    assert (json.loads(text), is_kept) == ({"unserialisable": "ä" * 100}, False)


def test_the_limit_counts_the_bytes_of_json() -> None:
    """What is over it is named by its size; it is the same for what is plain and for what is not."""
    fits = "ä" * ((RESULT_BYTES_MAX - 2) // 2)
    assert result_of(fits) == (f'"{fits}"'.encode(), True)
    for over in (fits + "x", Text(fits + "x")):
        assert result_of(over) == (b'{"too_large":%d}' % (RESULT_BYTES_MAX + 1), False)


@pytest.mark.parametrize("kind", [list, tuple, lambda values: {"a": values[0]}, lambda values: {Text("a"): values[0]}])
def test_nesting_is_written_as_deep(kind: Any) -> None:
    """However it is written."""
    text, is_kept = result_of(nested(DEPTH_MAX, kind))
    assert is_kept
    assert text.count(b"[") + text.count(b"{") == DEPTH_MAX


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_both_ways_say_the_same(value: object) -> None:
    """What is plain may go either way; what orjson alone would change goes the other."""
    text = _plain(value)
    if text is None:
        assert not result_of(value)[1]
    else:
        assert json.loads(_write(value, DEPTH_MAX)) == json.loads(text) == value
