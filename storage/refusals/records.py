"""The encoding of the file `refusals`: slots of one size, each with one record, or with nothing.

A slot has a CRC-32 of its own, so that what a process was writing when it died is ignored, and nothing else with it.
Any bytes are a record or nothing.
"""

import struct
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from storage.frozen import frozen

SLOT_BYTES = 8192
BODY_BYTES_MAX = 4096
"""Of a body, from its beginning: enough to see what it is, and half a slot."""
TEXT_BYTES_MAX = 300
"""Of each other text, which JSON may double. All together take less than half a slot; headers get what is left."""
AT_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999."""
NUMBER_MAX = 2**63
"""A larger number is not one of ours: so many refusals there will not be."""

_HEAD = struct.Struct("<I4sQHH")
"""CRC-32 of what follows, a mark, the number, the sizes of the JSON and of the body that come behind it."""
_MARK = b"why1"
_CRC_BYTES = 4
_JSON_BYTES_MAX = SLOT_BYTES - BODY_BYTES_MAX - _HEAD.size


@frozen
class RefusalRecord:
    """A request that was refused, and why."""

    source_id: str
    """The source that it named, which existed."""
    at_ms: int
    status: int
    code: str
    why: str
    """Which check failed, and what would have passed, in words."""
    is_known: bool
    """Whether its sender was: by a token, or by a signature where there are no tokens."""
    remote_addr: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    """Its beginning, if all that authenticates its sender was right; else b""."""
    body_bytes: int
    """The size of the whole body, if any of it is kept; else 0."""
    suppressed: int
    """Refusals of this source and this kind of sender, since the last one that is recorded, that are not."""


class Numbered(NamedTuple):
    """A record and its place in the order of all."""

    number: int
    record: RefusalRecord


_TYPES: Mapping[str, type] = {
    "source_id": str,
    "at_ms": int,
    "status": int,
    "code": str,
    "why": str,
    "is_known": bool,
    "remote_addr": str,
    "method": str,
    "path": str,
    "headers": dict,
    "body_bytes": int,
    "suppressed": int,
}
"""Of what is in the JSON; all of it has to be there."""


def encode(number: int, record: RefusalRecord) -> bytes:
    """Return a whole slot. Texts that are too long are cut, and headers that do not fit are left out."""
    values: dict[str, Any] = {name: _cut(getattr(record, name)) for name in _TYPES if name != "headers"}
    body = record.body[:BODY_BYTES_MAX]
    text = orjson.dumps(values | {"headers": {}})
    headers: dict[str, str] = {}
    for name, value in ((_text(name), _text(each)) for name, each in record.headers.items()):
        wider = orjson.dumps(values | {"headers": headers | {name: value}})
        if len(wider) <= _JSON_BYTES_MAX:
            headers[name], text = value, wider
    found = _HEAD.pack(0, _MARK, number, len(text), len(body))[_CRC_BYTES:] + text + body
    return (zlib.crc32(found).to_bytes(_CRC_BYTES, "little") + found).ljust(SLOT_BYTES, b"\0")


def _cut(value: object) -> object:
    """Return a value whose JSON is bounded: a text of at most TEXT_BYTES_MAX, anything else as it is."""
    if not isinstance(value, str):
        return value
    cut = _text(value).encode()[:TEXT_BYTES_MAX].decode("utf-8", "ignore")
    return "".join(max(each, " ") for each in cut)


def _text(value: str) -> str:
    """Return a text that JSON can hold, whatever Python took for one."""
    return value.encode("utf-8", "replace").decode()


def decode(slot: bytes) -> Numbered | None:
    """Return the record in a slot; None if there is none: whatever else may be there is ignored."""
    if len(slot) < _HEAD.size:
        return None
    crc, mark, number, text_bytes, body_bytes = _HEAD.unpack_from(slot)
    end = _HEAD.size + text_bytes + body_bytes
    is_ours = mark == _MARK and number <= NUMBER_MAX and end <= min(len(slot), SLOT_BYTES)
    if not is_ours or zlib.crc32(slot[_CRC_BYTES:end]) != crc:
        return None
    try:
        values = orjson.loads(slot[_HEAD.size : _HEAD.size + text_bytes])
    except ValueError:
        return None
    return Numbered(number, RefusalRecord(**values, body=slot[end - body_bytes : end])) if _is_right(values) else None


def _is_right(values: object) -> bool:
    """Return whether the JSON has all that it should, and nothing else."""
    if not isinstance(values, dict) or values.keys() != _TYPES.keys():
        return False
    if not all(type(values[name]) is kind for name, kind in _TYPES.items()):
        return False
    return 0 <= values["at_ms"] <= AT_MS_MAX and all(isinstance(each, str) for each in values["headers"].values())
