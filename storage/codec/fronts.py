"""How far retention has come, as marks in `meta`: what is before a mark's number had left at the mark's time.

There is a front for bodies and one for receipts (ids, statuses, facts). The newest mark of a kind is its front, which
only moves forward; older ones tell when something left that is looked for. What is kept below a front is still there.
"""

import struct
from typing import Literal

from storage.codec.records import KEY_BYTES, damaged, key_of, seal, unseal

Kind = Literal["bodies", "receipts"]

_TIME = struct.Struct("<Q")


def front_prefix(kind: Kind) -> bytes:
    """Return what the keys of the marks of this kind begin with; their numbers follow, so that they sort."""
    return f"left/{kind}/".encode()


def front_key(kind: Kind, number: int) -> bytes:
    return front_prefix(kind) + key_of(number)


def number_in(key: bytes) -> int:
    """Return the number of the mark with this key."""
    return int.from_bytes(key[-KEY_BYTES:], "big")


def encode_mark(key: bytes, wall_ms: int) -> bytes:
    """Return the value of a mark that was made at this time, in ms since the epoch."""
    return seal(b"meta", key, _TIME.pack(wall_ms))


def decode_mark(key: bytes, value: bytes) -> int:
    payload = unseal(b"meta", key, value)
    if len(payload) != _TIME.size:
        raise damaged(b"meta", key, "the time has another length")
    wall_ms: int = _TIME.unpack(payload)[0]
    return wall_ms
