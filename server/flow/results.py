"""Results: what a processor returns for an event, as the JSON that is kept beside it.

Never fails: the event's work was done and must not be repeated because of a note about it. What JSON cannot say, or
what is too large, is replaced by an object that says so.

What is plain goes to orjson and is read again: where that gives an equal value, the text says all of it. Anything else
is written piece by piece, since orjson writes NaN as null, trusts a `Fragment`, and reads the slots of a data class
without looking (an empty one ends the interpreter). Foreign methods may block, so all of it runs in the source's
thread.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import orjson

from server.base.printable import type_name

RESULT_BYTES_MAX = 65536
"""Of one event's result as JSON: a result is a note beside the event, not a second payload."""

DEPTH_MAX = 254
"""Containers in containers: as deep as orjson writes, and less than what readers of JSON take. A circle ends here."""

PLAIN_ONLY = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


class Unserialisable(Exception):
    """JSON cannot say it. The message is the name of its type."""


def result_of(value: object) -> tuple[bytes, bool]:
    """Return the result for a value, and whether it is the value itself. Raises nothing."""
    try:
        text = _plain(value) or _write(value, DEPTH_MAX)
    except Unserialisable as error:
        return orjson.dumps({"unserialisable": str(error)}), False
    if len(text) > RESULT_BYTES_MAX:
        return orjson.dumps({"too_large": len(text)}), False
    return text, True


def _plain(value: object) -> bytes | None:
    """Return what orjson writes, unless that is not all of it. What is too large anyway is not read again."""
    try:
        text = orjson.dumps(value, option=PLAIN_ONLY)
        return text if len(text) > RESULT_BYTES_MAX or orjson.loads(text) == value else None
    except BaseException:  # noqa: BLE001  # a member of an Enum may raise anything when it is compared
        return None


def _write(value: object, depth: int) -> bytes:
    """Return JSON. Raises Unserialisable for the innermost value that cannot be written."""
    if depth < 0:
        return _refuse(value, depth)
    try:
        return _writer(type(value))(value, depth)
    except Unserialisable:
        raise
    except BaseException:  # noqa: BLE001  # foreign methods, and whatever else goes wrong with this value
        raise Unserialisable(type_name(value)) from None


def _writer(kind: type) -> Callable[[Any, int], bytes]:
    for base, writer in WRITERS:
        if issubclass(kind, base):
            return writer
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, (numpy.generic, numpy.ndarray)):
        return _numpy_array if issubclass(kind, numpy.ndarray) else _numpy_scalar
    return _data_class if is_dataclass(kind) else _refuse


def _refuse(value: object, _: int) -> bytes:
    raise Unserialisable(type_name(value))


def _constant(value: bool | None, _: int) -> bytes:
    return orjson.dumps(value)


def _text(value: str, _: int) -> bytes:
    return orjson.dumps(str.__str__(value))


def _integer(value: int, _: int) -> bytes:
    return int.__repr__(value).encode()


def _number(value: float, depth: int) -> bytes:
    return orjson.dumps(float.__pos__(value)) if math.isfinite(value) else _refuse(value, depth)


def _decimal(value: Decimal, depth: int) -> bytes:
    return _words(value, depth) if value.is_finite() else _refuse(value, depth)


def _words(value: object, _: int) -> bytes:
    return orjson.dumps(str.__str__(str(value)))


def _moment(value: date | time, _: int) -> bytes:
    return orjson.dumps(str.__str__(value.isoformat()))


def _member(value: Enum, depth: int) -> bytes:
    return _write(value.value, depth)


def _fragment(value: orjson.Fragment, depth: int) -> bytes:
    return _write(orjson.loads(orjson.dumps(value)), depth)


def _list(value: list[object], depth: int) -> bytes:
    return _array([_write(each, depth - 1) for each in list.__iter__(value)])


def _tuple(value: tuple[object, ...], depth: int) -> bytes:
    return _array([_write(each, depth - 1) for each in tuple.__iter__(value)])


def _set(value: set[object], depth: int) -> bytes:
    return _array(sorted([_write(each, depth - 1) for each in set.__iter__(value)]))


def _frozen_set(value: frozenset[object], depth: int) -> bytes:
    return _array(sorted([_write(each, depth - 1) for each in frozenset.__iter__(value)]))


def _dict(value: dict[object, object], depth: int) -> bytes:
    return _object([(_key(key), _write(each, depth - 1)) for key, each in dict.items(value)])


def _data_class(value: Any, depth: int) -> bytes:
    return _object([(_text(each.name, 0), _write(getattr(value, each.name), depth - 1)) for each in fields(value)])


def _numpy_scalar(value: Any, depth: int) -> bytes:
    """By its shortest text: the 0.1 of a `float32` has other digits as a `float`."""
    import numpy as np  # noqa: PLC0415 - loaded by whoever made the value

    if isinstance(value, np.bool):
        return _constant(bool(value), depth)
    if isinstance(value, np.integer):
        return _integer(int(value), depth)
    if isinstance(value, np.floating):
        number = float(str(value))
        return _number(number, depth) if math.isfinite(number) else _refuse(value, depth)
    is_moment = isinstance(value, np.datetime64) and not np.isnat(value)
    return _words(value, depth) if is_moment else _refuse(value, depth)


def _numpy_array(value: Any, depth: int) -> bytes:
    """At once where orjson can, one entry after the other else."""
    import numpy as np  # noqa: PLC0415 - as above

    if not value.ndim:
        return _write(value[()], depth)
    if value.dtype.kind in "biu" or (value.dtype.kind == "f" and np.isfinite(value).all()):
        try:
            native = value.astype(value.dtype.newbyteorder("="), order="C", copy=False)
            return orjson.dumps(native, option=orjson.OPT_SERIALIZE_NUMPY)
        except orjson.JSONEncodeError:
            pass
    return _array([_write(each, depth - 1) for each in value])


def _key(key: object) -> bytes:
    """Return the key of an object: its own JSON, as a string."""
    text = _write(key, 1)
    if text[:1] in b"[{":
        return _refuse(key, 0)
    return text if text[:1] == b'"' else b'"%b"' % text


def _array(texts: list[bytes]) -> bytes:
    return b"[%b]" % b",".join(texts)


def _object(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"{%b}" % b",".join([b"%b:%b" % pair for pair in pairs])


WRITERS: tuple[tuple[type, Callable[[Any, int], bytes]], ...] = (
    (Enum, _member),
    (str, _text),
    (bool, _constant),
    (type(None), _constant),
    (int, _integer),
    (float, _number),
    (dict, _dict),
    (list, _list),
    (tuple, _tuple),
    (set, _set),
    (frozenset, _frozen_set),
    (date, _moment),
    (time, _moment),
    (Decimal, _decimal),
    (UUID, _words),
    (orjson.Fragment, _fragment),
)
"""The first that fits: an Enum may be a str or an int too, a bool is an int. A datetime is a date."""
