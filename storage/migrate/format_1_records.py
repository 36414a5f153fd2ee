"""The records of format 1 as objects of today; what differs in them is said in `format_1.py`."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy
import orjson
import zstandard

from storage.codec import status_rows
from storage.codec.records import CRC, damaged, key_of, number_of, unseal
from storage.codec.status_rows import Rows
from storage.deliveries import PAYLOAD_KEY, WHOLE_ITEM, Deliveries, NumberedDeliveries
from storage.delivery_id import FIRST_DIGITS
from storage.errors import StoreDamaged
from storage.journal.records import Journaled
from storage.model import Append
from storage.statuses import EventStatus, Totals, with_dead_now
from storage.store_time import to_the_minute

_ROW = numpy.dtype([("status", "<u4"), ("attempts", "<u4"), ("at_ms", "<u8"), ("ref", "<i8")])
LOG_HEAD = struct.Struct("<BIQII")
"""Bytes of the source id, events, received_at_ms, decoded bytes, CRC-32 of the packed part."""
_COUNT = struct.Struct("<I")
_APPEND = struct.Struct("<IIB")
_TOTALS = struct.Struct("<10Q")
_TOTALS_FIELDS = (
    *("received", "requeued", "deferred", "processed", "duplicate", "dropped", "dead", "pending", "deferred_now"),
    "oldest",
)


def decode_rows(key: bytes, value: bytes) -> Rows:
    """Return the rows of a value of `fates`, as rows of today; their `store_ms` is 0."""
    payload = unseal(b"fates", key, value)
    count = _COUNT.unpack_from(payload)[0] if len(payload) >= _COUNT.size else 0
    if count == 0 or len(payload) != _COUNT.size + count * (4 + _ROW.itemsize):
        raise damaged(b"fates", key, "the record has another length")
    runs = numpy.frombuffer(payload, _ROW, count, _COUNT.size + 4 * count)
    if runs["status"].max() > max(EventStatus):
        raise damaged(b"fates", key, "a run is impossible")
    found = runs.repeat(numpy.frombuffer(payload, "<u4", count, _COUNT.size))
    rows = numpy.zeros(len(found), status_rows.ROW)
    for name in _ROW.fields or ():
        rows[name] = found[name]
    return rows


def appends_in(journaled: Journaled) -> list[Append]:
    """Return what was appended to the journal in this record. Raises StoreDamaged."""
    try:
        return _appends_in(journaled.first, journaled.payload)
    except (struct.error, ValueError) as error:
        raise StoreDamaged(f"the journal does not decode: {error}") from error


def _appends_in(first: int, payload: bytes) -> list[Append]:
    (count,) = _COUNT.unpack_from(payload)
    at = _COUNT.size + count * _APPEND.size
    entries = list(_APPEND.iter_unpack(payload[_COUNT.size : at]))
    found: list[NumberedDeliveries] = []
    decompressor = zstandard.ZstdDecompressor()
    while at < len(payload):
        (length,) = _COUNT.unpack_from(payload, at)
        at += _COUNT.size
        found += decode_log(key_of(first), payload[at : at + length], decompressor)
        first = found[-1].end
        at += length
    times = [to_the_minute(numbered.deliveries.received_at_ms[0]) for numbered in found]
    parts = zip(found, entries, times, strict=True)
    return [Append(numbered, admitted, EventStatus(rest), at_ms) for numbered, (_, admitted, rest), at_ms in parts]


def decode_totals(key: bytes, value: bytes) -> Totals:
    payload = unseal(b"meta", key, value)
    if len(payload) != _TOTALS.size:
        raise damaged(b"meta", key, "the totals have another length")
    return with_dead_now(Totals(**dict(zip(_TOTALS_FIELDS, _TOTALS.unpack(payload), strict=True))))


def decode_log(key: bytes, value: bytes, decompressor: zstandard.ZstdDecompressor) -> list[NumberedDeliveries]:
    """Return the deliveries of a value of `log`: as many in one as are in an entry."""
    if len(value) < CRC.size + LOG_HEAD.size:
        raise damaged(b"log", key, "the record is too short")
    length, count, _, decoded_bytes, packed_crc = LOG_HEAD.unpack_from(value, CRC.size)
    packed_at = CRC.size + LOG_HEAD.size + length
    source_id = unseal(b"log", key, value[:packed_at])[LOG_HEAD.size :].decode()
    packed = value[packed_at:]
    if zlib.crc32(packed) != packed_crc:
        raise damaged(b"log", key, "the checksum of the deliveries is wrong")
    try:
        decoded = decompressor.decompress(packed, max_output_size=decoded_bytes)
        found = list(_entries(number_of(b"log", key), source_id, decoded))
    except (zstandard.ZstdError, orjson.JSONDecodeError, struct.error, ValueError, TypeError, LookupError) as error:
        raise damaged(b"log", key, f"the deliveries do not decode: {error}") from error
    if sum(numbered.count for numbered in found) != count:
        raise damaged(b"log", key, "the head counts other events than there are")
    return found


def _entries(first: int, source_id: str, decoded: bytes) -> Iterator[NumberedDeliveries]:
    (length,) = _COUNT.unpack_from(decoded)
    at = _COUNT.size + length
    for entry in orjson.loads(memoryview(decoded)[_COUNT.size : at]):
        sizes = entry["sizes"] if isinstance(entry, dict) else [entry[1]]
        ends = list(accumulate(sizes, initial=at))
        bodies = [decoded[start:end] for start, end in pairwise(ends)]
        if isinstance(entry, dict):
            numbered = NumberedDeliveries(first, entry["suffix"], _singles(source_id, entry, bodies))
        else:
            numbered = NumberedDeliveries(first, entry[0][FIRST_DIGITS + 1 :], _delivery(source_id, entry, bodies[0]))
        yield numbered
        at, first = ends[-1], numbered.end
    if at != len(decoded):
        raise ValueError("the bodies have another length")


def _delivery(source_id: str, entry: Sequence[Any], body: bytes) -> Deliveries:
    _, _, kind, received_at_ms, remote_addr, headers, batched, size, count, *columns, rejected, sent_at = entry
    ids, id_from, provider_ids, types, indexes = columns
    found = _unfolded(ids, count)
    places = list(range(count)) if indexes is True else indexes
    return Deliveries(
        source_id=source_id,
        source_type=kind,
        received_at_ms=[received_at_ms],
        remote_addrs=[remote_addr],
        headers=[headers],
        sent_at=[sent_at],
        batched=[batched],
        batch_sizes=[size],
        rejected=[[(index, code, message) for index, code, message in rejected]],
        counts=[count],
        bodies=[body],
        body_hashes=(),
        ids=found,
        id_from=_unfolded(id_from, count),
        provider_ids=found if provider_ids is True else _unfolded(provider_ids, count),
        types=_unfolded(types, count),
        indexes=places,
        payload_from=_payload_from(kind, body, places, batched=batched),
        unsigned=[""] * len(places),
    )


def _singles(source_id: str, entry: dict[str, Any], bodies: list[bytes]) -> Deliveries:
    count = len(bodies)
    ids = _unfolded(entry["ids"], count)
    return Deliveries(
        source_id=source_id,
        source_type=entry["type"],
        received_at_ms=[entry["at"]] * count,
        remote_addrs=_unfolded(entry["from"], count),
        headers=_unfolded(entry["headers"], count),
        sent_at=_unfolded(entry["sent_at"], count),
        batched=[False] * count,
        batch_sizes=[1] * count,
        rejected=[()] * count,
        counts=[1] * count,
        bodies=bodies,
        body_hashes=(),
        ids=ids,
        id_from=_unfolded(entry["id_from"], count),
        provider_ids=ids if entry["providers"] is True else _unfolded(entry["providers"], count),
        types=_unfolded(entry["types"], count),
        indexes=[0] * count,
        payload_from=[_payload_from(entry["type"], body, [0], batched=False)[0] for body in bodies],
        unsigned=[""] * len(bodies),
    )


def _unfolded(value: Any, count: int) -> list[Any]:
    return value if isinstance(value, list) else [value] * count


def _payload_from(source_type: str, body: bytes, indexes: Sequence[int], *, batched: bool) -> list[str]:
    if source_type != "webhook" or not body:
        return [WHOLE_ITEM] * len(indexes)
    parsed = orjson.loads(body)
    items = parsed if batched else [parsed]
    return [PAYLOAD_KEY if "payload" in items[index] else WHOLE_ITEM for index in indexes]
