"""The bytes of a `log` record: deliveries of one source, whose numbers follow one another.

Sealed in two parts, so that the head is checked without touching the rest: the head names the source and counts the
events, and holds the CRC-32 of the packed deliveries behind it. Those are facts as JSON, then the bodies, compressed
together.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import zstandard

from storage.model import Facts, Stored
from storage.records import CRC, damaged, key_of, number_of, seal, unseal

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


def split_log(deliveries: Sequence[Stored]) -> Iterator[list[Stored]]:
    """What goes into one record each: neighbours of one source, as long as their bodies fit."""
    run: list[Stored] = []
    size = 0
    for stored in deliveries:
        other = run and run[0].facts.source_id != stored.facts.source_id
        if run and (other or size + len(stored.body) > LOG_RECORD_BYTES_MAX):
            yield run
            run, size = [], 0
        run.append(stored)
        size += len(stored.body)
    if run:
        yield run


def encode_log(deliveries: Sequence[Stored], compressor: zstandard.ZstdCompressor) -> bytes:
    """One record of deliveries of one source, whose numbers follow one another."""
    facts = orjson.dumps([_facts_out(stored) for stored in deliveries])
    decoded = b"".join([_COUNT.pack(len(facts)), facts, *(stored.body for stored in deliveries)])
    packed = compressor.compress(decoded)
    one = deliveries[0]
    source = one.facts.source_id.encode()
    count = sum(stored.facts.count for stored in deliveries)
    crc = zlib.crc32(packed)
    head = _HEAD.pack(len(source), count, one.facts.received_at_ms, len(decoded), crc) + source
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
        deliveries = _deliveries_in(decoded, head)
    except (zstandard.ZstdError, orjson.JSONDecodeError, struct.error, ValueError, TypeError) as error:
        raise damaged(b"log", key, f"the deliveries do not decode: {error}") from error
    if sum(stored.facts.count for stored in deliveries) != head.count:
        raise damaged(b"log", key, "the head counts other events than there are")
    return deliveries


def _deliveries_in(decoded: bytes, head: LogHead) -> list[Stored]:
    (length,) = _COUNT.unpack_from(decoded)
    at = _COUNT.size + length
    first = head.first
    deliveries = []
    for entry in orjson.loads(memoryview(decoded)[_COUNT.size : at]):
        identity, body_bytes, *rest = entry
        facts = _facts_in(head.source_id, rest)
        deliveries.append(Stored(first, identity, facts, decoded[at : at + body_bytes]))
        at += body_bytes
        first += facts.count
    if at != len(decoded):
        raise ValueError("the bodies have another length")
    return deliveries


def _facts_out(stored: Stored) -> list[object]:
    """What is alike for all events of a delivery is written once."""
    facts = stored.facts
    if len(facts.types) == 1:
        return _one_out(stored)
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
        _fold(ids),
        _fold(facts.id_from),
        True if providers == ids else _fold(providers),
        _fold(facts.types),
        True if indexes == list(range(facts.count)) else indexes,
        facts.rejected,
        facts.sent_at,
    ]


def _one_out(stored: Stored) -> list[object]:
    """The same for one event, where there is nothing to compare."""
    facts = stored.facts
    [event_id], [provider_id], [index] = facts.ids, facts.provider_ids, facts.indexes
    return [
        stored.id,
        len(stored.body),
        facts.source_type,
        facts.received_at_ms,
        facts.remote_addr,
        facts.headers,
        facts.batched,
        facts.batch_size,
        1,
        event_id,
        facts.id_from[0],
        True if provider_id == event_id else provider_id,
        facts.types[0],
        True if index == 0 else [index],
        facts.rejected,
        facts.sent_at,
    ]


def _facts_in(source_id: str, entry: Sequence[Any]) -> Facts:
    kind, received_at_ms, remote_addr, headers, batched, size, count, *columns, rejected, sent_at = entry
    ids, id_from, providers, types, indexes = columns
    found = _unfold(ids, count)
    facts = Facts(
        source_id=source_id,
        source_type=kind,
        received_at_ms=received_at_ms,
        remote_addr=remote_addr,
        headers=headers,
        batched=batched,
        batch_size=size,
        ids=found,
        id_from=_unfold(id_from, count),
        provider_ids=found if providers is True else _unfold(providers, count),
        types=_unfold(types, count),
        indexes=list(range(count)) if indexes is True else indexes,
        rejected=[(index, code, message) for index, code, message in rejected],
        sent_at=sent_at,
    )
    lengths = map(len, (facts.ids, facts.id_from, facts.provider_ids, facts.types, facts.indexes))
    if any(length != count for length in lengths):
        raise ValueError("the facts have unequal lengths")
    return facts


def _fold(values: Sequence[str | None]) -> object:
    """One value where all are the same, else the list."""
    return values[0] if values.count(values[0]) == len(values) else list(values)


def _unfold(value: Any, count: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * count
