"""Format 1, `tidegate store 1`: read only, as what the store holds today.

It differs from format 2 in this:

- `log` holds facts and bodies in one value: a head, then one zstd stream of a length, a JSON list of entries and the
  bodies. An entry is an array for one delivery, or an object of columns for deliveries of one event that went together.
- How a payload was chosen is not stored; a webhook's item gave what it has under `payload`, if it has that.
- `fates` is `statuses` without the store's time.
- Totals are ten counts, of which the oldest pending number is the last.
- A record of the journal holds values of `log`.

Whatever else stood on the disk then stands so today, and is decoded by the present codec. Before that is changed, its
present form has to come here.
"""

import os
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import lmdb
import numpy
import orjson
import zstandard

from storage.codec import status_rows
from storage.codec.records import (
    CRC,
    DIGEST_BYTES,
    IDENTITY_BYTES,
    TOTALS_PREFIX,
    damaged,
    decode_ids,
    decode_results,
    key_of,
    number_of,
    unseal,
)
from storage.codec.status_rows import Rows
from storage.deliveries import PAYLOAD_KEY, WHOLE_ITEM, Deliveries, NumberedDeliveries
from storage.delivery_id import FIRST_DIGITS
from storage.errors import StoreDamaged
from storage.journal.records import Journaled
from storage.lmdb_store.errors import lmdb_errors
from storage.model import Append
from storage.statuses import EventStatus, Totals, with_dead_now
from storage.store_time import to_the_minute

NUMBER = 1

_DATABASES = ("meta", "log", "ids", "fates", "results")
_FIXED_PAGES = 3
_ROW = numpy.dtype([("status", "<u4"), ("attempts", "<u4"), ("at_ms", "<u8"), ("ref", "<i8")])
_LOG_HEAD = struct.Struct("<BIQII")
"""Bytes of the source id, events, received_at_ms, decoded bytes, CRC-32 of the packed part."""
_COUNT = struct.Struct("<I")
_APPEND = struct.Struct("<IIB")
_TOTALS = struct.Struct("<10Q")
_TOTALS_FIELDS = (
    *("received", "requeued", "deferred", "processed", "duplicate", "dropped", "dead", "pending", "deferred_now"),
    "oldest",
)


class OldStore:
    """A store of format 1 that nobody writes to. What it yields is in the order of numbers, each with its first one."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError."""
        self.path = path
        self._decompressor = zstandard.ZstdDecompressor()
        with lmdb_errors():
            self._env = lmdb.open(
                os.fsencode(path),
                lib_version=0,
                readonly=True,
                lock=False,
                create=False,
                max_dbs=len(_DATABASES),
                map_size=0,
            )
            self._databases = {name: self._env.open_db(name.encode(), create=False) for name in _DATABASES}
            self._txn = self._env.begin(buffers=True)
        found = self._txn.get(b"identity", db=self._databases["meta"])
        self.identity = unseal(b"meta", b"identity", bytes(found)) if found is not None else bytes(IDENTITY_BYTES)

    def close(self) -> None:
        self._txn.abort()
        self._env.close()

    @property
    def used_bytes(self) -> int:
        """Bytes of the pages that hold something."""
        stats = [self._txn.stat(database) for database in self._databases.values()]
        pages = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
        return int((pages + _FIXED_PAGES) * self._env.stat()["psize"])

    @property
    def end(self) -> int:
        """The number after the last event."""
        cursor = self._txn.cursor(db=self._databases["ids"])
        if not cursor.last():
            return 1
        key = bytes(cursor.key())
        return number_of(b"ids", key) + len(decode_ids(key, bytes(cursor.value()))) // DIGEST_BYTES

    def totals(self) -> Iterator[tuple[str, Totals]]:
        for key, value in self.values("meta"):
            if key.startswith(TOTALS_PREFIX):
                yield key[len(TOTALS_PREFIX) :].decode(), _decode_totals(key, value)

    def log(self) -> Iterator[list[NumberedDeliveries]]:
        """Yield what stands in one record each, entry by entry."""
        for key, value in self.values("log"):
            yield decode_log(key, value, self._decompressor)

    def digests(self) -> Iterator[tuple[int, bytes]]:
        for key, value in self.values("ids"):
            yield number_of(b"ids", key), decode_ids(key, value)

    def statuses(self) -> Iterator[tuple[int, Rows]]:
        """Yield rows of today; the `store_ms` of what is pending is when it was received by the wall clock, else 0."""
        for key, value in self.values("fates"):
            first, rows = number_of(b"fates", key), decode_rows(key, value)
            waits = status_rows.is_pending(rows["status"])
            if waits.any():
                rows["store_ms"] = numpy.where(waits, self._received(first, len(rows)), 0)
            yield first, rows

    def _received(self, first: int, count: int) -> Rows:
        """Return when each of these events was received, to the minute: what the head of its record says."""
        received = numpy.zeros(count, "<u8")
        cursor = self._txn.cursor(db=self._databases["log"])
        with lmdb_errors():
            found = cursor.set_range(key_of(first))
            while found and (place := number_of(b"log", bytes(cursor.key())) - first) < count:
                _, _, received_at_ms, *_ = _LOG_HEAD.unpack_from(cursor.value(), CRC.size)
                received[place:] = to_the_minute(received_at_ms)
                found = cursor.next()
        return received

    def results(self) -> Iterator[tuple[int, dict[int, bytes]]]:
        for key, value in self.values("results"):
            yield number_of(b"results", key), decode_results(key, value)

    def values(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys and values of a database."""
        with lmdb_errors():
            for key, value in self._txn.cursor(db=self._databases[name]):
                yield bytes(key), bytes(value)


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


def _decode_totals(key: bytes, value: bytes) -> Totals:
    payload = unseal(b"meta", key, value)
    if len(payload) != _TOTALS.size:
        raise damaged(b"meta", key, "the totals have another length")
    return with_dead_now(Totals(**dict(zip(_TOTALS_FIELDS, _TOTALS.unpack(payload), strict=True))))


def decode_log(key: bytes, value: bytes, decompressor: zstandard.ZstdDecompressor) -> list[NumberedDeliveries]:
    """Return the deliveries of a value of `log`: as many in one as are in an entry."""
    if len(value) < CRC.size + _LOG_HEAD.size:
        raise damaged(b"log", key, "the record is too short")
    length, count, _, decoded_bytes, packed_crc = _LOG_HEAD.unpack_from(value, CRC.size)
    packed_at = CRC.size + _LOG_HEAD.size + length
    source_id = unseal(b"log", key, value[:packed_at])[_LOG_HEAD.size :].decode()
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


def main(path: str) -> None:
    """Read every record of the store in this directory, so that it is known whether that can be done."""
    with closing(OldStore(Path(path))) as old:
        for name in _DATABASES:
            for _ in old.values(name):
                pass


if __name__ == "__main__":
    main(sys.argv[1])
