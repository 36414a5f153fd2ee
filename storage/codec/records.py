"""The bytes on disk: the values of every database as encode and decode pairs, sealed with a checksum.

A sealed value is the CRC-32 of database name, key and payload, then the payload; so a value that was changed, or that
stands at a key or in a database where it does not belong, is found on reading. Whatever does not decode raises
StoreDamaged, which names the database and the key.

The two larger kinds have files of their own: `log_record.py` and `status_rows.py`.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, repeat
from operator import attrgetter

import numpy
from numpy.typing import NDArray

from storage.deliveries import NumberedDeliveries
from storage.errors import StoreDamaged
from storage.statuses import COUNTERS, Totals, with_dead_now
from storage.store_time import BOOT_ID_BYTES, HostTime, StoreTime

FORMAT = b"tidegate store 2"
"""The value of `format` in `meta`. A store with another one is not read."""

OLD_FORMATS = (b"tidegate store 1",)
"""Those that `storage/migrate` converts."""

IDENTITY_BYTES = 8
"""Of a store: drawn when it is made."""

KEY_BYTES = 8
DIGEST_BYTES = 16
SAME_BYTES = 4
"""With which the digest of a replayed event begins like that of its id: what the look-up index goes by."""

CRC = struct.Struct("<I")
_COUNT = struct.Struct("<I")
_TOTAL_BYTES = 8
_fields = attrgetter("oldest", *COUNTERS)


def key_of(number: int) -> bytes:
    """Return the key of the record that starts with this number: big-endian, so that keys sort as numbers do."""
    return number.to_bytes(KEY_BYTES, "big")


def number_of(database: bytes, key: bytes) -> int:
    if len(key) != KEY_BYTES:
        raise damaged(database, key, "the key is not a number")
    return int.from_bytes(key, "big")


def damaged(database: bytes, key: bytes, why: str) -> StoreDamaged:
    place = str(int.from_bytes(key, "big")) if len(key) == KEY_BYTES and database != b"meta" else repr(key)
    return StoreDamaged(f"{database.decode()}, key {place}: {why}")


def seal(database: bytes, key: bytes, payload: bytes) -> bytes:
    return _checksum(database, key, payload) + payload


def _checksum(database: bytes, key: bytes, payload: bytes) -> bytes:
    return CRC.pack(zlib.crc32(payload, zlib.crc32(key, zlib.crc32(database))))


def unseal(database: bytes, key: bytes, value: bytes) -> bytes:
    """Return the payload, once its checksum is found to be right."""
    payload = value[CRC.size :]
    if len(value) <= CRC.size or _checksum(database, key, payload) != value[: CRC.size]:
        raise damaged(database, key, "the checksum is wrong")
    return payload


# Digests, and the databases `ids` and `body_digests`.


def digest(source_id: str, event_id: str) -> bytes:
    """Return what deduplication compares: BLAKE2b-128 of the source id, NUL, and the event id."""
    return blake2b(f"{source_id}\0{event_id}".encode(), digest_size=DIGEST_BYTES).digest()


def digests_of(numbered: NumberedDeliveries) -> bytes:
    """Return the digests of the events, in order."""
    prefix = f"{numbered.source_id}\0"
    ids = numbered.event_ids()
    found = [blake2b((prefix + each).encode(), digest_size=DIGEST_BYTES).digest() for each in ids]
    if numbered.deliveries.replay_of:
        found = [replay_digest(each, numbered.first + at) for at, each in enumerate(found)]
    return b"".join(found)


def replay_digest(own: bytes, number: int) -> bytes:
    """Return the digest of a replayed event with this number, whose id has the digest `own`.

    It is no other's, nor is its fingerprint in the dedup index that of `own`: deduplication takes it for an id of its
    own. It begins like `own`, so the look-up index has both at the same place.
    """
    rest = blake2b(own + key_of(number), digest_size=DIGEST_BYTES - SAME_BYTES).digest()
    another = rest[0] & 0xFE | ~own[SAME_BYTES] & 1
    return own[:SAME_BYTES] + bytes([another]) + rest[1:]


def body_digests_of(numbered: NumberedDeliveries) -> bytes:
    """Return by what the events are known beside their ids, in order: digests of source, body and index in it; b"" if
    equal bodies are not duplicates."""
    deliveries = numbered.deliveries
    if not deliveries.body_hashes:
        return b""
    own = chain.from_iterable(map(repeat, deliveries.body_hashes, deliveries.counts))
    texts = [f"{numbered.source_id}\0{each}\0{at}" for each, at in zip(own, deliveries.indexes, strict=True)]
    return b"".join([blake2b(each.encode(), digest_size=DIGEST_BYTES, person=b"body").digest() for each in texts])


def split_digests(digests: bytes) -> list[bytes]:
    """Return packed digests one by one."""
    return [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]


def encode_ids(key: bytes, digests: bytes) -> bytes:
    return seal(b"ids", key, digests)


def decode_ids(key: bytes, value: bytes) -> bytes:
    """Return the packed digests of a block of events."""
    return _whole_digests(b"ids", key, value)


def encode_body_digests(key: bytes, digests: bytes) -> bytes:
    return seal(b"body_digests", key, digests)


def decode_body_digests(key: bytes, value: bytes) -> bytes:
    """Return the packed digests of the bodies of a record's events."""
    return _whole_digests(b"body_digests", key, value)


def _whole_digests(database: bytes, key: bytes, value: bytes) -> bytes:
    digests = unseal(database, key, value)
    if len(digests) % DIGEST_BYTES:
        raise damaged(database, key, "the length is no multiple of a digest's")
    return digests


# The `results` database: JSON of many events, each exactly as the caller gave it.


RESULTS_RECORD_BYTES_MAX = 1024 * 1024
"""Of details in one record, unless one alone has more: what a look-up must read for one event."""


def split_results(details: Iterable[tuple[int, bytes]]) -> Iterator[dict[int, bytes]]:
    """Yield what goes into one record each: as many as fit."""
    chunk: dict[int, bytes] = {}
    size = 0
    for number, detail in details:
        if chunk and size + len(detail) > RESULTS_RECORD_BYTES_MAX:
            yield chunk
            chunk, size = {}, 0
        chunk[number] = detail
        size += len(detail)
    if chunk:
        yield chunk


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


def result_numbers(key: bytes, value: bytes | memoryview) -> NDArray[numpy.uint64]:
    """Return the numbers of the events that a record has something of; its checksum is not looked at."""
    count = int.from_bytes(value[CRC.size : CRC.size + _COUNT.size], "little")
    at = CRC.size + _COUNT.size
    if at + 8 * count > len(value):
        raise damaged(b"results", key, "the record is too short")
    return numpy.frombuffer(value, "<u8", count, at)


def _slices(payload: bytes, at: int, lengths: Sequence[int]) -> Iterable[bytes]:
    for length in lengths:
        yield payload[at : at + length]
        at += length


# The `meta` database.

TIME_KEY = b"time"
_TIME = struct.Struct(f"<QQQ{BOOT_ID_BYTES}s")


_WITHHELD = struct.Struct("<q")


def encode_time(time: StoreTime) -> bytes:
    host = time.host
    withheld = b"" if time.withheld_from is None else _WITHHELD.pack(time.withheld_from)
    return seal(b"meta", TIME_KEY, _TIME.pack(time.store_ms, host.wall_ms, host.boot_ms, host.boot_id) + withheld)


def decode_time(value: bytes) -> StoreTime:
    payload = unseal(b"meta", TIME_KEY, value)
    withheld = payload[_TIME.size :]
    if len(payload) not in (_TIME.size, _TIME.size + _WITHHELD.size):
        raise damaged(b"meta", TIME_KEY, "the time has another length")
    store_ms, *host = _TIME.unpack_from(payload)
    return StoreTime(store_ms, HostTime(*host), _WITHHELD.unpack(withheld)[0] if withheld else None)


ERASURE_KEY = b"erasure"
_SINCE = struct.Struct("<Q")


def encode_erasure(since_ms: int) -> bytes:
    """Return the note that what was forgotten since then, in ms of the wall clock, is to be overwritten yet."""
    return seal(b"meta", ERASURE_KEY, _SINCE.pack(since_ms))


def decode_erasure(value: bytes) -> int:
    payload = unseal(b"meta", ERASURE_KEY, value)
    if len(payload) != _SINCE.size:
        raise damaged(b"meta", ERASURE_KEY, "the time has another length")
    since_ms: int = _SINCE.unpack(payload)[0]
    return since_ms


TOTALS_PREFIX = b"totals/"
REPLAY_PREFIX = b"replay/"


def replay_key(identity: str) -> bytes:
    return REPLAY_PREFIX + identity.encode()


def encode_replay_record(key: bytes, record: bytes) -> bytes:
    return seal(b"meta", key, record)


def decode_replay_record(key: bytes, value: bytes) -> bytes:
    return unseal(b"meta", key, value)


def totals_key(source_id: str) -> bytes:
    return TOTALS_PREFIX + source_id.encode()


def encode_totals(key: bytes, totals: Totals) -> bytes:
    found = _fields(totals)
    return seal(b"meta", key, struct.pack(f"<{len(found)}Q", *found))


def decode_totals(key: bytes, value: bytes) -> Totals:
    """Return the totals; counters that the store does not have yet are 0, or follow from the others."""
    payload = unseal(b"meta", key, value)
    count, rest = divmod(len(payload), _TOTAL_BYTES)
    if rest or not 1 <= count <= 1 + len(COUNTERS):
        raise damaged(b"meta", key, "the totals have another length")
    oldest, *counters = struct.unpack(f"<{count}Q", payload)
    found = Totals(oldest=oldest, **dict(zip(COUNTERS, counters, strict=False)))
    return found if len(counters) == len(COUNTERS) else with_dead_now(found)
