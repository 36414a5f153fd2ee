"""The bytes of the log: deliveries of one source whose numbers follow one another, as two values under one key.

`facts` holds what intake found, `bodies` the bodies, so that bodies can leave while receipts stay. Both are one zstd
stream, which is cut where the facts end: an id that stands in either takes its place once, and the facts are read by
themselves, by decompressing the first part alone.

A value of `facts` is sealed in two parts, so that its head is checked without touching the rest: the head names the
source and counts the events, and holds the CRC-32 of what is packed behind it. Without bodies there is no value in
`bodies`.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
import zstandard

from storage.codec.columns import decode_columns, encode_columns
from storage.codec.records import CRC, damaged, key_of, number_of, seal, unseal
from storage.deliveries import NumberedDeliveries, merged

COMPRESSION_LEVEL = 1
"""Higher ones cost more of the time between two commits than they save of the disk's."""

LOG_RECORD_BYTES_MAX = 1024 * 1024
"""Of bodies in one record, unless one delivery alone has more: what feeding must unpack for one event."""

_HEAD = struct.Struct("<BIQIII")
"""Bytes of the source id, events, received_at_ms, decoded bytes of the facts and of the bodies, CRC-32 of the packed
facts."""
_HEAD_BYTES_MAX = CRC.size + _HEAD.size + 255


UNDECODABLE = zstandard.ZstdError, ValueError, TypeError, LookupError, AttributeError, OverflowError, MemoryError
"""What decoding raises for bytes that nobody encoded; the last two for a count that no memory holds."""


@dataclass(frozen=True, slots=True)
class LogHead:
    """What a record says of itself without being unpacked."""

    first: int
    source_id: str
    count: int
    received_at_ms: int
    """Of the first delivery."""
    packed_at: int
    """Where the packed facts begin in the value."""
    facts_bytes: int
    bodies_bytes: int
    packed_crc: int

    @property
    def end(self) -> int:
        return self.first + self.count


def split_log(group: Sequence[NumberedDeliveries]) -> Iterator[NumberedDeliveries]:
    """Yield what goes into one record each: neighbours of one source, as long as their bodies fit."""
    run: list[NumberedDeliveries] = []
    size = 0
    for numbered in group:
        more = numbered.deliveries.size
        if run and (size + more > LOG_RECORD_BYTES_MAX or not _go_together(run[0], numbered)):
            yield merged(run)
            run, size = [], 0
        run.append(numbered)
        size += more
    if run:
        yield merged(run)


def _go_together(one: NumberedDeliveries, other: NumberedDeliveries) -> bool:
    return (
        one.source_id == other.source_id
        and one.deliveries.source_type == other.deliveries.source_type
        and one.suffix == other.suffix
        and one.has_body_hashes == other.has_body_hashes
        and bool(one.deliveries.replay_of) == bool(other.deliveries.replay_of)
    )


def encode_log(numbered: NumberedDeliveries, compressor: zstandard.ZstdCompressor) -> tuple[bytes, bytes | None]:
    """Return the values of `facts` and `bodies`; None if all bodies are empty."""
    facts = encode_columns(numbered)
    bodies = b"".join(numbered.deliveries.bodies)
    stream = compressor.compressobj(size=len(facts) + len(bodies))
    packed = stream.compress(facts) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    rest = stream.compress(bodies) + stream.flush()
    source = numbered.source_id.encode()
    at_ms = numbered.deliveries.received_at_ms[0]
    sizes = len(facts), len(bodies), zlib.crc32(packed)
    key = key_of(numbered.first)
    head = seal(b"facts", key, _HEAD.pack(len(source), numbered.count, at_ms, *sizes) + source)
    return head + packed, seal(b"bodies", key, rest) if bodies else None


def decode_log_head(key: bytes, value: bytes | memoryview) -> LogHead:
    """Return the head of a value of `facts`; only its first bytes are touched."""
    start = bytes(memoryview(value)[:_HEAD_BYTES_MAX])
    first = number_of(b"facts", key)
    if len(start) < CRC.size + _HEAD.size:
        raise damaged(b"facts", key, "the record is too short")
    length, count, received_at_ms, *sizes = _HEAD.unpack_from(start, CRC.size)
    packed_at = CRC.size + _HEAD.size + length
    source = unseal(b"facts", key, start[:packed_at])[_HEAD.size :]
    if len(source) != length or count == 0 or not source.isascii():
        raise damaged(b"facts", key, "the head is inconsistent")
    return LogHead(first, source.decode(), count, received_at_ms, packed_at, *sizes)


def decode_log(
    key: bytes,
    facts: bytes | memoryview,
    bodies: bytes | None,
    decompressor: zstandard.ZstdDecompressor,
    head: LogHead | None = None,
) -> NumberedDeliveries:
    """Return the deliveries of a record. `bodies`: the value of that database; None leaves every body empty."""
    head = head or decode_log_head(key, facts)
    packed = bytes(memoryview(facts)[head.packed_at :])
    if zlib.crc32(packed) != head.packed_crc:
        raise damaged(b"facts", key, "the checksum of the deliveries is wrong")
    rest = None if bodies is None else unseal(b"bodies", key, bodies)
    try:
        if rest is None:
            columns, found = decompressor.decompressobj().decompress(packed), None
        else:
            decoded = decompressor.decompress(packed + rest, max_output_size=head.facts_bytes + head.bodies_bytes)
            columns, found = decoded[: head.facts_bytes], decoded[head.facts_bytes :]
        numbered = decode_columns(head.source_id, head.first, columns, found)
    except UNDECODABLE as error:
        raise damaged(b"facts", key, f"the deliveries do not decode: {error}") from error
    if numbered.count != head.count:
        raise damaged(b"facts", key, "the head counts other events than there are")
    return numbered


def body_sizes(key: bytes, facts: bytes, decompressor: zstandard.ZstdDecompressor, head: LogHead) -> Sequence[int]:
    """Return how many bytes the body of each delivery of a record has or had, also if the bodies have left."""
    try:
        sizes: Sequence[int] = orjson.loads(decompressor.decompressobj().decompress(facts[head.packed_at :]))[2]
    except UNDECODABLE as error:
        raise damaged(b"facts", key, f"the deliveries do not decode: {error}") from error
    return sizes
