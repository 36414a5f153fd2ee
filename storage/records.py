"""The bytes on disk: every value of every database as an encode and decode pair, sealed with a checksum.

A sealed value is the CRC-32 of database name, key and payload, then the payload; so a value that was changed, or that
stands at a key or in a database where it does not belong, is found on reading. Whatever does not decode raises
StoreDamaged, which names the database and the key.

A log record is sealed in two parts, so that its head is checked without touching the rest: the head names the source
and counts the events, and holds the CRC-32 of the packed deliveries behind it.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
import zstandard

from storage.errors import StoreDamaged
from storage.model import Facts, Stored, Totals

FORMAT = b"tidegate store 1"
"""The value of `format` in `meta`. A store with another one is not read."""

KEY_BYTES = 8
DIGEST_BYTES = 16
COMPRESSION_LEVEL = 1

_CRC = struct.Struct("<I")
_HEAD = struct.Struct("<BIQII")  # bytes of the source id, events, received_at_ms, decoded bytes, CRC-32 of the packed part
_COUNT = struct.Struct("<I")
_TOTALS = struct.Struct("<10Q")
HEAD_BYTES_MAX = _CRC.size + _HEAD.size + 255


def key_of(number: int) -> bytes:
    """The key of the record that starts with this number: big-endian, so that keys sort as numbers do."""
    return number.to_bytes(KEY_BYTES, "big")


def number_of(database: bytes, key: bytes) -> int:
    if len(key) != KEY_BYTES:
        raise damaged(database, key, "the key is not a number")
    return int.from_bytes(key, "big")


def damaged(database: bytes, key: bytes, why: str) -> StoreDamaged:
    place = str(int.from_bytes(key, "big")) if len(key) == KEY_BYTES and database != b"meta" else repr(key)
    return StoreDamaged(f"{database.decode()}, key {place}: {why}")


def seal(database: bytes, key: bytes, payload: bytes) -> bytes:
    return _CRC.pack(zlib.crc32(payload, zlib.crc32(key, zlib.crc32(database)))) + payload


def unseal(database: bytes, key: bytes, value: bytes) -> bytes:
    """The payload, once its checksum is found to be right."""
    payload = value[_CRC.size :]
    if len(value) <= _CRC.size or seal(database, key, payload)[: _CRC.size] != value[: _CRC.size]:
        raise damaged(database, key, "the checksum is wrong")
    return payload


# Digests and the `ids` database.


def digest(source_id: str, event_id: str) -> bytes:
    """What deduplication compares: BLAKE2b-128 of the source id, NUL, and the event id."""
    return hashlib.blake2b(f"{source_id}\0{event_id}".encode(), digest_size=DIGEST_BYTES).digest()


def digests_of(stored: Stored) -> bytes:
    """The digests of a delivery's events, in order."""
    prefix = f"{stored.facts.source_id}\0"
    own = f"{stored.id}-"
    blake2b = hashlib.blake2b
    ids = [
        f"{own}{index}" if found is None else found
        for found, index in zip(stored.facts.ids, stored.facts.indexes, strict=True)
    ]
    return b"".join([blake2b((prefix + found).encode(), digest_size=DIGEST_BYTES).digest() for found in ids])


def encode_ids(key: bytes, digests: bytes) -> bytes:
    return seal(b"ids", key, digests)


def decode_ids(key: bytes, value: bytes) -> bytes:
    """The packed digests of a block of events."""
    digests = unseal(b"ids", key, value)
    if len(digests) % DIGEST_BYTES:
        raise damaged(b"ids", key, "the length is no multiple of a digest's")
    return digests


# The `log` database.


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
    start = bytes(memoryview(value)[:HEAD_BYTES_MAX])
    first = number_of(b"log", key)
    if len(start) < _CRC.size + _HEAD.size:
        raise damaged(b"log", key, "the record is too short")
    length, count, received_at_ms, decoded_bytes, packed_crc = _HEAD.unpack_from(start, _CRC.size)
    packed_at = _CRC.size + _HEAD.size + length
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


def _facts_in(source_id: str, entry: Sequence[object]) -> Facts:
    kind, received, remote, headers, batched, size, count, ids, id_from, providers, types, indexes, rejected, sent = entry
    found = _unfold(ids, count)
    facts = Facts(
        source_id=source_id,
        source_type=kind,
        received_at_ms=received,
        remote_addr=remote,
        headers=headers,
        batched=batched,
        batch_size=size,
        ids=found,
        id_from=_unfold(id_from, count),
        provider_ids=found if providers is True else _unfold(providers, count),
        types=_unfold(types, count),
        indexes=list(range(count)) if indexes is True else indexes,
        rejected=[(index, code, message) for index, code, message in rejected],
        sent_at=sent,
    )
    if not len(facts.ids) == len(facts.id_from) == len(facts.provider_ids) == len(facts.indexes) == facts.count == count:
        raise ValueError("the facts have unequal lengths")
    return facts


def _fold(values: Sequence[str | None]) -> object:
    """One value where all are the same, else the list."""
    return values[0] if values.count(values[0]) == len(values) else list(values)


def _unfold(value: object, count: int) -> list:
    return value if isinstance(value, list) else [value] * count


# The `results` database: JSON of many events, each exactly as the caller gave it.


def encode_results(key: bytes, details: Mapping[int, bytes]) -> bytes:
    numbers = struct.pack(f"<{len(details)}Q", *details)
    lengths = struct.pack(f"<{len(details)}I", *map(len, details.values()))
    return seal(b"results", key, b"".join([_COUNT.pack(len(details)), numbers, lengths, *details.values()]))


def decode_results(key: bytes, value: bytes) -> dict[int, bytes]:
    payload = unseal(b"results", key, value)
    try:
        (count,) = _COUNT.unpack_from(payload)
        numbers = struct.unpack_from(f"<{count}Q", payload, _COUNT.size)
        lengths = struct.unpack_from(f"<{count}I", payload, _COUNT.size + 8 * count)
    except struct.error as error:
        raise damaged(b"results", key, "the record is too short") from error
    at = _COUNT.size + 12 * count
    if at + sum(lengths) != len(payload):
        raise damaged(b"results", key, "the record has another length")
    return dict(zip(numbers, _slices(payload, at, lengths), strict=True))


def _slices(payload: bytes, at: int, lengths: Sequence[int]) -> Iterable[bytes]:
    for length in lengths:
        yield payload[at : at + length]
        at += length


# The `meta` database.

TOTALS_PREFIX = b"totals/"


def totals_key(source_id: str) -> bytes:
    return TOTALS_PREFIX + source_id.encode()


def encode_totals(key: bytes, totals: Totals) -> bytes:
    fields = (getattr(totals, name) for name in Totals.__slots__)
    return seal(b"meta", key, _TOTALS.pack(*fields))


def decode_totals(key: bytes, value: bytes) -> Totals:
    payload = unseal(b"meta", key, value)
    if len(payload) != _TOTALS.size:
        raise damaged(b"meta", key, "the totals have another length")
    return Totals(*_TOTALS.unpack(payload))


# Delivery ids.

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
FIRST_DIGITS = 13
"""Of five bits each: room for 64."""


def delivery_id(first: int, suffix: str) -> str:
    """The id of the delivery whose first event has this number; ids sort as numbers do."""
    return "".join([_DIGITS[first >> shift & 31] for shift in range(5 * (FIRST_DIGITS - 1), -1, -5)]) + "-" + suffix


def first_of(identity: str) -> int | None:
    """The first number in a delivery id; None where the text is no delivery id."""
    digits, dash, suffix = identity.partition("-")
    if len(digits) != FIRST_DIGITS or not dash or not suffix or not all(digit in _VALUES for digit in digits):
        return None
    first = 0
    for digit in digits:
        first = first << 5 | _VALUES[digit]
    return first if first < 1 << 64 else None
