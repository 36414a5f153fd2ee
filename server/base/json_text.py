"""JSON text of any value that was parsed from JSON, however deeply nested, however large its integers."""

from typing import Any

import orjson


def json_text(value: object, *, indent: bool = False) -> bytes:
    """Return `value` as JSON; not indented if orjson refuses it, which reads deeper than it writes."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None)
    except orjson.JSONEncodeError:
        return _deep(value)


def _deep(value: object) -> bytes:
    """Encode without recursion: `todo` holds values, and between them bytes to write (no JSON value is bytes)."""
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
            written.append(b"%d" % item if type(item) is int else orjson.dumps(item))
    return b"".join(written)
