"""The encoding of the file `in-hand`: a header, the suspects, and then pages with the numbers of events in hand.

Each part has a CRC-32 of its own. So what a process was writing when it died is ignored, and nothing else with it. A
page is written with one call, and so is a suspect; zeros are neither.
"""

import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence

from storage.codec.records import IDENTITY_BYTES
from storage.frozen import frozen
from storage.store_time import BOOT_ID_BYTES, UNKNOWN_BOOT

PAGE_BYTES = 4096
"""A memory page: writing inside one is not interrupted by the end of the process."""

_CRC = struct.Struct("<I")
_HEADER = struct.Struct(f"<8s{BOOT_ID_BYTES}s{IDENTITY_BYTES}sI")
_MAGIC = b"in-hand1"
_SUSPECT = struct.Struct("<QHBx")
_COUNT = struct.Struct("<I")

ENDING_AT = _CRC.size + _HEADER.size
"""The offset of a byte behind the header. It is 0 while an end of the process would count."""
ENDING = b"\1"

_SUSPECTS_AT = 64
SUSPECT_BYTES = _CRC.size + _SUSPECT.size
PAGE_HEAD_BYTES = _CRC.size + _COUNT.size
PAGE_NUMBERS_MAX = (PAGE_BYTES - PAGE_HEAD_BYTES) // 8


@frozen
class Suspect:
    """A pending event that was in hand when a process died."""

    deaths: int
    """How often it was."""
    owed: bool
    """The last of these is an attempt that is not counted yet: it was a suspect already."""


def encode_head(boot_id: bytes, store: bytes, suspects: Mapping[int, Suspect]) -> bytes:
    """Return all that stands before the pages, in whole pages."""
    header = _sealed(_HEADER.pack(_MAGIC, boot_id, store, len(suspects)))
    head = header.ljust(_SUSPECTS_AT, b"\0") + b"".join(encode_suspect(*each) for each in suspects.items())
    return head.ljust(pages_at(len(suspects)), b"\0")


def encode_suspect(number: int, suspect: Suspect) -> bytes:
    return _sealed(_SUSPECT.pack(number, suspect.deaths, suspect.owed))


def encode_page(numbers: Sequence[int]) -> bytes:
    """Return a page with these numbers, at most PAGE_NUMBERS_MAX, without what it has behind them."""
    return _sealed(_COUNT.pack(len(numbers)) + array("Q", numbers).tobytes())


def suspect_at(place: int) -> int:
    """Return the offset of a suspect in the file."""
    return _SUSPECTS_AT + place * SUSPECT_BYTES


def pages_at(suspects: int) -> int:
    """Return the offset of the first page behind so many suspects."""
    return -(-suspect_at(suspects) // PAGE_BYTES) * PAGE_BYTES


def suspects_after(content: bytes, boot_id: bytes, store: bytes) -> dict[int, Suspect]:
    """Return the suspects after the end of the process that left this content: none if it is another boot's or
    another store's, or if no boot can be told from another."""
    header = _unsealed(content[: _CRC.size + _HEADER.size])
    if header is None or len(header) < _HEADER.size or boot_id == UNKNOWN_BOOT:
        return {}
    magic, boot, identity, count = _HEADER.unpack(header)
    if (magic, boot, identity) != (_MAGIC, boot_id, store):
        return {}
    suspects = dict(_suspects(content[_SUSPECTS_AT : suspect_at(count)]))
    if content[ENDING_AT : ENDING_AT + 1] == ENDING:
        return suspects
    in_hand = sorted(_in_hand(content[pages_at(count) :]))
    return suspects | {number: _after_death(suspects.get(number)) for number in in_hand}


def _after_death(before: Suspect | None) -> Suspect:
    return Suspect(1, owed=False) if before is None else Suspect(min(before.deaths + 1, 0xFFFF), owed=True)


def _suspects(content: bytes) -> Iterator[tuple[int, Suspect]]:
    for at in range(0, len(content), SUSPECT_BYTES):
        found = _unsealed(content[at : at + SUSPECT_BYTES])
        if found is not None and len(found) == _SUSPECT.size:
            number, deaths, owed = _SUSPECT.unpack(found)
            yield number, Suspect(deaths, bool(owed))


def _in_hand(content: bytes) -> Iterator[int]:
    for at in range(0, len(content), PAGE_BYTES):
        count = int.from_bytes(content[at + _CRC.size : at + PAGE_HEAD_BYTES], "little")
        found = _unsealed(content[at : at + min(PAGE_BYTES, PAGE_HEAD_BYTES + 8 * count)])
        if found is not None and len(found) == _COUNT.size + 8 * count:
            yield from array("Q", found[_COUNT.size :])


def _sealed(content: bytes) -> bytes:
    return _CRC.pack(zlib.crc32(content)) + content


def _unsealed(content: bytes) -> bytes | None:
    """Return what has the checksum before it; None if it has another, or is not there."""
    found = content[_CRC.size :]
    return found if found and content[: _CRC.size] == _CRC.pack(zlib.crc32(found)) else None
