"""JSON text of anything that was once read from JSON, however deeply it is nested."""

from typing import Any

import orjson


def json_text(value: object, *, indent: bool = False) -> bytes:
    """`value` as JSON. What is nested too deeply for the encoder (it reads deeper than it writes) is never indented."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None)
    except orjson.JSONEncodeError:
        return _deep(value)


def _deep(value: object) -> bytes:
    """Without recursion: `todo` holds values, and text (bytes, which no JSON value is) to be written between them."""
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
