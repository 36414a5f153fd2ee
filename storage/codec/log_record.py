"""The bytes of a `log` record: deliveries of one source, whose numbers follow one another.

Sealed in two parts, so that the head is checked without touching the rest: the head names the source and counts the
events, and holds the CRC-32 of the packed deliveries behind it. Those are facts as JSON, then the bodies, compressed
together. The facts are a list of entries: an array for a delivery, an object of columns for deliveries of one event
each that came together.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import orjson
import zstandard

from storage.codec.records import CRC, damaged, key_of, number_of, seal, unseal
from storage.codec.singles import deliveries, entry_of, fold, from_entry, unfold
from storage.model import Facts, Singles, Stored

COMPRESSION_LEVEL = 1
"""Higher ones cost more of the time between two commits than they save of the disk's."""

LOG_RECORD_BYTES_MAX = 1024 * 1024
"""Of bodies in one record, unless one delivery alone has more: what feeding must unpack for one event."""

_HEAD = struct.Struct("<BIQII")
"""Bytes of the source id, events, received_at_ms, decoded bytes, CRC-32 of the packed part."""
_COUNT = struct.Struct("<I")
_HEAD_BYTES_MAX = CRC.size + _HEAD.size + 255


@dataclass(frozen=True, slots=True)
class LogHead:
    """What a log record says of itself without being unpacked."""

    first: int
    source_id: str
    count: int
    received_at_ms: int
    """Of the first delivery."""
    decoded_bytes: int
    packed_crc: int
    packed_at: int
    """Where the packed deliveries begin in the value."""

    @property
    def end(self) -> int:
        return self.first + self.count


def split_log(group: Sequence[Stored | Singles]) -> Iterator[list[Stored | Singles]]:
    """What goes into one record each: neighbours of one source, as long as their bodies fit."""
    run: list[Stored | Singles] = []
    size = 0
    for stored in group:
        other = run and run[0].source_id != stored.source_id
        more = stored.size
        if run and (other or size + more > LOG_RECORD_BYTES_MAX):
            yield run
            run, size = [], 0
        run.append(stored)
        size += more
    if run:
        yield run


def encode_log(run: Sequence[Stored | Singles], compressor: zstandard.ZstdCompressor) -> bytes:
    """One record of deliveries of one source, whose numbers follow one another."""
    bodies: list[bytes] = []
    for stored in run:
        bodies += (stored.body,) if isinstance(stored, Stored) else stored.columns.bodies
    facts = orjson.dumps([_entry_out(stored) for stored in run])
    decoded = b"".join([_COUNT.pack(len(facts)), facts, *bodies])
    packed = compressor.compress(decoded)
    one = run[0]
    source = one.source_id.encode()
    count = sum([stored.count for stored in run])
    crc = zlib.crc32(packed)
    head = _HEAD.pack(len(source), count, one.received_at_ms, len(decoded), crc) + source
    return seal(b"log", key_of(one.first), head) + packed


def decode_log_head(key: bytes, value: bytes | memoryview) -> LogHead:
    """The head of a log record; only its first bytes are touched."""
    start = bytes(memoryview(value)[:_HEAD_BYTES_MAX])
    first = number_of(b"log", key)
    if len(start) < CRC.size + _HEAD.size:
        raise damaged(b"log", key, "the record is too short")
    length, count, received_at_ms, decoded_bytes, packed_crc = _HEAD.unpack_from(start, CRC.size)
    packed_at = CRC.size + _HEAD.size + length
    source = unseal(b"log", key, start[:packed_at])[_HEAD.size :]
    if len(source) != length or count == 0:
        raise damaged(b"log", key, "the head is inconsistent")
    return LogHead(first, source.decode(), count, received_at_ms, decoded_bytes, packed_crc, packed_at)


def decode_log(
    key: bytes, value: bytes | memoryview, decompressor: zstandard.ZstdDecompressor, head: LogHead | None = None
) -> list[Stored]:
    """The deliveries of a log record. The sequences in their facts come back as lists."""
    head = head or decode_log_head(key, value)
    packed = memoryview(value)[head.packed_at :]
    if zlib.crc32(packed) != head.packed_crc:
        raise damaged(b"log", key, "the checksum of the deliveries is wrong")
    try:
        decoded = decompressor.decompress(packed, max_output_size=head.decoded_bytes)
        found = _deliveries_in(decoded, head)
    except (zstandard.ZstdError, orjson.JSONDecodeError, struct.error, ValueError, TypeError, LookupError) as error:
        raise damaged(b"log", key, f"the deliveries do not decode: {error}") from error
    if sum(stored.count for stored in found) != head.count:
        raise damaged(b"log", key, "the head counts other events than there are")
    return found


def _deliveries_in(decoded: bytes, head: LogHead) -> list[Stored]:
    (length,) = _COUNT.unpack_from(decoded)
    at = _COUNT.size + length
    found: list[Stored] = []
    first = head.first
    for entry in orjson.loads(memoryview(decoded)[_COUNT.size : at]):
        sizes = entry["sizes"] if isinstance(entry, dict) else [entry[1]]
        ends = list(accumulate(sizes, initial=at))
        bodies = [decoded[start:end] for start, end in pairwise(ends)]
        if isinstance(entry, dict):
            found += deliveries(from_entry(entry, head.source_id, first, bodies))
        else:
            found.append(Stored(first, entry[0], _facts_in(head.source_id, entry[2:]), bodies[0]))
        at = ends[-1]
        first = found[-1].first + found[-1].count
    if at != len(decoded):
        raise ValueError("the bodies have another length")
    return found


def _entry_out(stored: Stored | Singles) -> object:
    return _facts_out(stored) if isinstance(stored, Stored) else entry_of(stored)


def _facts_out(stored: Stored) -> list[object]:
    """What is alike for all events of a delivery is written once."""
    facts = stored.facts
    ids = list(facts.ids)
    providers = list(facts.provider_ids)
    indexes = list(facts.indexes)
    return [
        stored.id,
        len(stored.body),
        facts.source_type,
        facts.received_at_ms,
        facts.remote_addr,
        dict(facts.headers),
        facts.batched,
        facts.batch_size,
        facts.count,
        fold(ids),
        fold(facts.id_from),
        True if providers == ids else fold(providers),
        fold(facts.types),
        True if indexes == list(range(facts.count)) else indexes,
        facts.rejected,
        facts.sent_at,
    ]


def _facts_in(source_id: str, entry: Sequence[Any]) -> Facts:
    kind, received_at_ms, remote_addr, headers, batched, size, count, *columns, rejected, sent_at = entry
    ids, id_from, providers, types, indexes = columns
    found = unfold(ids, count)
    facts = Facts(
        source_id=source_id,
        source_type=kind,
        received_at_ms=received_at_ms,
        remote_addr=remote_addr,
        headers=headers,
        batched=batched,
        batch_size=size,
        ids=found,
        id_from=unfold(id_from, count),
        provider_ids=found if providers is True else unfold(providers, count),
        types=unfold(types, count),
        indexes=list(range(count)) if indexes is True else indexes,
        rejected=[(index, code, message) for index, code, message in rejected],
        sent_at=sent_at,
    )
    lengths = map(len, (facts.ids, facts.id_from, facts.provider_ids, facts.types, facts.indexes))
    if any(length != count for length in lengths):
        raise ValueError("the facts have unequal lengths")
    return facts
