"""JSON text of any value that was parsed from JSON, however deeply nested, however large its integers.

It is for people and terminals too: what is no more than white space, a line end or a command to a terminal is escaped.
"""

import json
import re
from typing import Any

import orjson

_BEYOND_ASCII = re.compile(r"[^\n -~]+")


def json_text(value: object, *, indent: bool = False) -> bytes:
    """Return `value` as JSON; not indented if orjson refuses it, which reads deeper than it writes."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None)
    except orjson.JSONEncodeError:
        text = _deep(value)
    is_plain = text.isascii() and b"\x7f" not in text
    return text if is_plain else _BEYOND_ASCII.sub(_escaped, text.decode()).encode()


def _escaped(found: re.Match[str]) -> str:
    """Return what was found, which stands within a string, with every unprintable character escaped."""
    run = found[0]
    return (
        run if run.isprintable() else "".join([each if each.isprintable() else json.dumps(each)[1:-1] for each in run])
    )


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
