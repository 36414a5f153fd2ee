"""What each record of a store of an older format is in the present one."""

from collections.abc import Callable, Iterator

import numpy
import zstandard

from storage.codec.log_record import COMPRESSION_LEVEL, encode_log, split_log
from storage.codec.pieces import in_pieces
from storage.codec.records import (
    TIME_KEY,
    encode_ids,
    encode_results,
    encode_time,
    encode_totals,
    key_of,
    seal,
    totals_key,
)
from storage.codec.status_rows import encode_statuses
from storage.lmdb_store.making import IDENTITY_KEY
from storage.migrate.format_1 import OldStore
from storage.store_time import UNKNOWN_BOOT, HostTime, StoreTime, host_time

Record = tuple[str, bytes, bytes]
"""A database, a key and a value."""


def records_of(old: OldStore, on_event: Callable[[int], None]) -> Iterator[Record]:
    """Yield everything but the journal: each record of the old store as one of the new, split alike."""
    yield "meta", IDENTITY_KEY, seal(b"meta", IDENTITY_KEY, old.identity)
    for source_id, totals in old.totals():
        key = totals_key(source_id)
        yield "meta", key, encode_totals(key, totals)
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
    for entries in old.log():
        on_event(entries[0].first)
        for numbered in split_log(entries):
            key = key_of(numbered.first)
            facts, bodies = encode_log(numbered, compressor)
            yield from (("facts", *piece) for piece in in_pieces(key, facts))
            if bodies is not None:
                yield from (("bodies", *piece) for piece in in_pieces(key, bodies))
    for first, digests in old.digests():
        key = key_of(first)
        yield "ids", key, encode_ids(key, digests)
    yield from _statuses(old)
    for number, details in old.results():
        key = key_of(number)
        yield "results", key, encode_results(key, details)


def _statuses(old: OldStore) -> Iterator[Record]:
    """Yield the statuses, and the store's time: that of an outcome or a receipt is the wall clock's, from there on.

    One of the future, when the clock was wrong, is taken for now: otherwise all that came before would be long past.
    """
    now_ms, newest_ms = host_time(UNKNOWN_BOOT).wall_ms, 0
    for first, rows in old.statuses():
        rows["store_ms"] = numpy.minimum(numpy.maximum(rows["at_ms"], rows["store_ms"]), now_ms)
        newest_ms = max(newest_ms, int(rows["store_ms"].max()))
        key = key_of(first)
        yield "statuses", key, encode_statuses(key, rows)
    if newest_ms:
        yield "meta", TIME_KEY, encode_time(StoreTime(newest_ms, HostTime(newest_ms, 0, UNKNOWN_BOOT)))
