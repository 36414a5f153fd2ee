"""The look-up index: where an id may be, and when what has a number was received. All of it follows from the rest.

Numbers are counted in granules of GRANULE; a segment of level n is FAN_OUT**n granules that follow one another, from a
multiple of its length on. A segment has entries: for each id in it the granule that holds it, under a fingerprint of 28
bits. They are sorted, and split by the fingerprint's first bits into parts of some 4000, so that a look-up reads 16 kB
of a segment however long it is. And it has a row of times: when the first and the last delivery of each of its
FAN_OUT sub-segments were received.

An entry is 32 bits: what of the fingerprint the part does not tell, then the granule within the segment. A segment with
FAN_OUT times the granules has FAN_OUT times the parts, so both take all 32 bits on every level but the lowest.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from storage.codec.records import DIGEST_BYTES, damaged, key_of, seal, unseal

GRANULE = 248
"""Numbers. A full part of ids that all differ then takes four pages, and not a fifth for some bytes."""
_LEVEL_BITS = 4
FAN_OUT = 1 << _LEVEL_BITS
LEVELS = 5
"""The longest segments are 16 million numbers; a look-up reads one part of each."""
FINGERPRINT_BITS = 28
_ENTRY_BITS = 32

Fingerprints = NDArray[numpy.uint64]
Packed = NDArray[numpy.uint64]
"""Fingerprint and granule in one integer, which sorts as entries do."""
EntryColumn = NDArray[numpy.uint32]
Times = NDArray[numpy.uint64]
"""Rows of two: the first and the last time, in ms of the wall clock."""

NEVER = (numpy.iinfo(numpy.uint64).max, 0)
"""The times of what holds nothing."""

COVERED_KEY = b"index"
"""In `meta`: up to which number each level reaches."""
_COVERED = struct.Struct(f"<{LEVELS}Q")


def span(level: int) -> int:
    """Return how many numbers a segment of this level has."""
    return GRANULE << _LEVEL_BITS * level


def parts(level: int) -> int:
    """Return in how many parts the entries of a segment are."""
    return 1 << _LEVEL_BITS * max(level - 1, 0)


def entries_prefix(level: int) -> bytes:
    """Return what the keys of all entries of this level begin with."""
    return b"f%c" % level


def entries_key(level: int, first: int, part: int) -> bytes:
    return entries_prefix(level) + key_of(first) + part.to_bytes(2, "big")


def times_prefix(level: int) -> bytes:
    """Return what the keys of all times of this level begin with."""
    return b"t%c" % level


def times_key(level: int, first: int) -> bytes:
    return times_prefix(level) + key_of(first)


def place_of(key: bytes) -> tuple[int, int]:
    """Return level and first number of the segment that the row with this key belongs to."""
    return key[1], int.from_bytes(key[2:10], "big")


# Fingerprints.


def provider_fingerprints(source_id: str, provider_ids: Iterable[str]) -> Fingerprints:
    """Return what stands for each `provider_event_id`, where it is not the event's id too. A shorter digest is another
    one: it is not the begin of what an event id has."""
    prefix, blake2b = f"{source_id}\0", hashlib.blake2b
    found = [blake2b((prefix + each).encode(), digest_size=4).digest() for each in provider_ids]
    return numpy.frombuffer(b"".join(found), "<u4").astype(numpy.uint64) >> numpy.uint64(_ENTRY_BITS - FINGERPRINT_BITS)


def fingerprint(digest: bytes) -> int:
    return int.from_bytes(digest[:4], "little") >> _ENTRY_BITS - FINGERPRINT_BITS


def fingerprints(digests: bytes) -> Fingerprints:
    """Return the fingerprint of each of these packed digests."""
    return numpy.frombuffer(digests, "<u4")[:: DIGEST_BYTES // 4].astype(numpy.uint64) >> numpy.uint64(
        _ENTRY_BITS - FINGERPRINT_BITS
    )


# Entries.


def pack(found: Fingerprints, granules: NDArray[Any], level: int) -> Packed:
    """Return entries of a segment, sorted, each once. `granules`: within the segment."""
    return each_once(found << numpy.uint64(_LEVEL_BITS * level) | granules.astype(numpy.uint64))


def each_once(packed: Packed) -> Packed:
    """Return entries sorted, each once. numpy.unique, which hashes, takes fifty times as long."""
    packed = numpy.sort(packed)
    is_first = numpy.concatenate((numpy.ones(min(1, len(packed)), "?"), packed[1:] != packed[:-1]))
    found: Packed = packed[is_first]
    return found


def unpacked(entries: EntryColumn, part: int, level: int) -> tuple[Fingerprints, Fingerprints]:
    """Return the fingerprints in a part, and the granule of each within the segment."""
    packed = entries.astype(numpy.uint64) | numpy.uint64(part << _ENTRY_BITS)
    return packed >> numpy.uint64(_LEVEL_BITS * level), granules_of(packed, level)


def raised(entries: EntryColumn, part: int, level: int, place: int) -> Packed:
    """Return the entries of a part as those of the segment one level up, of which theirs is the one at this place."""
    found, granules = unpacked(entries, part, level)
    return found << numpy.uint64(_LEVEL_BITS * (level + 1)) | granules + numpy.uint64(place << _LEVEL_BITS * level)


def split(packed: Packed) -> Iterator[tuple[int, EntryColumn]]:
    """Yield the parts that sorted entries go into, and what goes there; nothing if all of a segment has left."""
    if not len(packed):
        return
    of = (packed >> numpy.uint64(_ENTRY_BITS)).astype(numpy.int64)
    starts = numpy.flatnonzero(numpy.concatenate(([True], of[1:] != of[:-1])))
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(of)], strict=True):
        yield int(of[start]), packed[start:stop].astype("<u4")


def encode_entries(key: bytes, entries: EntryColumn) -> bytes:
    return seal(b"index", key, entries.tobytes())


def decode_entries(key: bytes, value: bytes) -> EntryColumn:
    payload = unseal(b"index", key, value)
    if len(payload) % 4:
        raise damaged(b"index", key, "the length is not a multiple of an entry's")
    return numpy.frombuffer(payload, "<u4")


def part_of(wanted: int, level: int) -> int:
    """Return in which part of a segment this fingerprint is looked up."""
    return wanted << _LEVEL_BITS * level >> _ENTRY_BITS


def granules_with(entries: EntryColumn, wanted: int, level: int) -> Sequence[int]:
    """Return the granules of a segment that may hold an id of this fingerprint, ascending; from its part."""
    bits = _LEVEL_BITS * level
    low = (wanted << bits) & (1 << _ENTRY_BITS) - 1
    high = low | (1 << bits) - 1
    start, stop = entries.searchsorted(numpy.array([low, high], "<u4"))
    stop += stop < len(entries) and int(entries[stop]) == high
    granules: list[int] = granules_of(entries[start:stop], level).tolist()
    return granules


def granules_of(entries: NDArray[Any], level: int) -> NDArray[Any]:
    """Return the granule of each entry, packed or as stored, within its segment."""
    found: NDArray[Any] = entries & entries.dtype.type((1 << _LEVEL_BITS * level) - 1)
    return found


# Times.


def encode_times(key: bytes, times: Times) -> bytes:
    return seal(b"index", key, times.astype("<u8").tobytes())


def decode_times(key: bytes, value: bytes) -> Times:
    """Return the times of each sub-segment: of the segment itself on the lowest level."""
    payload = unseal(b"index", key, value)
    if len(payload) != 16 * (FAN_OUT if key[1] else 1):
        raise damaged(b"index", key, "the times have another length")
    return numpy.frombuffer(payload, "<u8").reshape(-1, 2)


def joined_times(times: Times) -> Times:
    """Return the first and the last of all these times, as one row."""
    return numpy.array([[times[:, 0].min(), times[:, 1].max()]], numpy.uint64)


def check_row(key: bytes, value: bytes) -> None:
    """Raise StoreDamaged unless this is a row of the index."""
    kind, level = key[:1], key[1] if len(key) > 1 else LEVELS
    if level >= LEVELS or len(key) != {b"f": 12, b"t": 10}.get(kind) or place_of(key)[1] % span(level):
        raise damaged(b"index", key, "there can be no such key")
    if kind == b"t":
        decode_times(key, value)
    elif not (numpy.diff(decode_entries(key, value).astype(numpy.int64)) > 0).all():
        raise damaged(b"index", key, "the entries do not ascend")


# How far it reaches.


def encode_covered(covered: Sequence[int]) -> bytes:
    """`covered`: by level, the number before which its segments, or longer ones, have everything."""
    return seal(b"meta", COVERED_KEY, _COVERED.pack(*covered))


def decode_covered(value: bytes) -> Sequence[int]:
    payload = unseal(b"meta", COVERED_KEY, value)
    if len(payload) != _COVERED.size:
        raise damaged(b"meta", COVERED_KEY, "it has another length")
    covered = _COVERED.unpack(payload)
    for level, end in enumerate(covered):
        if end % span(level) or end < max(covered[level + 1 :], default=0):
            raise damaged(b"meta", COVERED_KEY, f"the level {level} cannot end at {end}")
    return covered
