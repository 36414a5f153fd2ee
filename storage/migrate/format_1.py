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
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import lmdb
import numpy
import zstandard

from storage.codec import status_rows
from storage.codec.records import (
    CRC,
    DIGEST_BYTES,
    IDENTITY_BYTES,
    TOTALS_PREFIX,
    decode_ids,
    decode_results,
    key_of,
    number_of,
    unseal,
)
from storage.codec.status_rows import Rows
from storage.deliveries import NumberedDeliveries
from storage.lmdb_store.errors import lmdb_errors
from storage.migrate.format_1_records import LOG_HEAD, decode_log, decode_rows, decode_totals
from storage.statuses import Totals
from storage.store_time import to_the_minute

NUMBER = 1

_DATABASES = ("meta", "log", "ids", "fates", "results")
_FIXED_PAGES = 3


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
                yield key[len(TOTALS_PREFIX) :].decode(), decode_totals(key, value)

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
                _, _, received_at_ms, *_ = LOG_HEAD.unpack_from(cursor.value(), CRC.size)
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


def main(path: str) -> None:
    """Read every record of the store in this directory, so that it is known whether that can be done."""
    with closing(OldStore(Path(path))) as old:
        for name in _DATABASES:
            for _ in old.values(name):
                pass


if __name__ == "__main__":
    main(sys.argv[1])
