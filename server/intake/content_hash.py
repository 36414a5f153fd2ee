"""Ids made from content: BLAKE2b-128 of an item's canonical text, so that equal items are duplicates.

In the canonical text keys are sorted by code points, strings are as decoded, numbers as they were written, repeated
keys are all kept, in their order, and there is no white space. For an ordinary item, which is one that orjson would
write with the same numbers and keys, orjson writes that text; any other is read again with the standard library, which
keeps what orjson does not: digits beyond a float's, repeated keys, halves of surrogate pairs.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any

import orjson

from server.intake.parse import Body

_WHITE_SPACE = b" \t\n\r"
_LITERALS = {None: "null", True: "true", False: "false"}
_key = itemgetter(0)


def content_hashes(body: Body, indexes: Sequence[int], *, batched: bool, list_name: str = "") -> list[str]:
    """Return the hashes of these items of the body in hex; of a body that is not `batched` the only one is it all.

    `list_name`: under which a body that is an object has its items.
    """
    if _is_ordinary(body):
        items = _items(body.value, batched, list_name)
        texts = [orjson.dumps(items[index], option=orjson.OPT_SORT_KEYS) for index in indexes]
    else:
        items = _items(_read_exactly(body.as_sent or body.text), batched, list_name)
        texts = [_canonical_text(items[index]) for index in indexes]
    return [hashlib.blake2b(text, digest_size=16).hexdigest() for text in texts]


def _items(value: Any, batched: bool, list_name: str) -> list[Any]:
    if not batched:
        return [value]
    items: list[Any] = value if isinstance(value, list) else dict(value)[list_name]
    return items


def _is_ordinary(body: Body) -> bool:
    return body.as_sent is None and _skeleton(body.text) == _skeleton(orjson.dumps(body.value))


def _skeleton(text: bytes) -> bytes:
    """Return the text without strings and white space: equal ones have the same numbers, and as many keys."""
    unescaped = text.replace(rb"\\", b"").replace(rb"\"", b"")
    return b"".join(unescaped.split(b'"')[::2]).translate(None, _WHITE_SPACE)


def _read_exactly(text: bytes) -> object:
    """Return the value with objects as tuples of pairs, and numbers as the bytes that were written."""
    return json.loads(text.decode(), object_pairs_hook=tuple, parse_int=str.encode, parse_float=str.encode)


def _canonical_text(item: object) -> bytes:
    written: list[str] = []
    _write(item, written.append)
    return "".join(written).encode("utf-8", "surrogatepass")  # a half is in the text as in no other string


def _write(value: object, write: Callable[[str], None]) -> None:
    """Write a value of `_read_exactly` as orjson would; it nests no deeper than a body may."""
    if isinstance(value, str):
        write(encode_basestring(value))
    elif isinstance(value, bytes):
        write(value.decode())
    elif isinstance(value, tuple):
        separator = "{"
        for key, each in sorted(value, key=_key):
            write(f"{separator}{encode_basestring(key)}:")
            _write(each, write)
            separator = ","
        write("}" if value else "{}")
    elif isinstance(value, list):
        separator = "["
        for each in value:
            write(separator)
            _write(each, write)
            separator = ","
        write("]" if value else "[]")
    else:
        write(_LITERALS[value])  # type: ignore[index]
