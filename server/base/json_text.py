"""JSON text of anything that was once read from JSON, however deeply it is nested."""

from typing import Any

import orjson


def json_text(value: object, *, indent: bool = False) -> bytes:
    """Return `value` as JSON. What is too deep for the encoder (it reads deeper than it writes) is not indented."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None)
    except orjson.JSONEncodeError:
        return _deep(value)


def _deep(value: object) -> bytes:
    """Do it without recursion: `todo` holds values, and between them text (bytes, which no JSON value is) to write."""
    written: list[bytes] = []
    todo: list[Any] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, bytes):
            written.append(item)
        elif isinstance(item, dict):
            todo.append(b"}")
            for place, (key, each) in reversed(list(enumerate(item.items()))):
                todo += (each, b"%b%b:" % (b"," if place else b"", orjson.dumps(key)))
            todo.append(b"{")
        elif isinstance(item, list):
            todo.append(b"]")
            for place, each in reversed(list(enumerate(item))):
                todo += (each, b"," if place else b"")
            todo.append(b"[")
        else:
            written.append(orjson.dumps(item))
    return b"".join(written)
