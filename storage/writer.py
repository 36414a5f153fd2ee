"""One group, one transaction: the only write path of the store.

Guarantees: when `write` returns, the whole group is on disk (LMDB's commit flushed it); when it raises, nothing of the
group is, and this object is as it was before. Order of operations: encode what depends on the group alone, begin, read
the blocks of fates that outcomes change, judge every outcome, put, commit, and only then change memory.

The number of LMDB calls depends on how many sources, blocks and MiB a group touches, not on its events: each call gives
up the interpreter lock and may wait long to get it back. For the same reason the last block of `ids` and `fates`, which
nearly every group extends, is held in memory.

A block takes the events of whole groups: a group joins the last block while that holds fewer than BLOCK_EVENTS_MIN
events. `ids` and `fates` are split identically, and no `log` record reaches over the end of a block.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy
import zstandard

from storage import fates
from storage.environment import Store
from storage.errors import IllegalOutcome, StoreDamaged
from storage.fates import Rows
from storage.model import Append, Fate, Group, Outcomes, Totals, Written
from storage.records import (
    COMPRESSION_LEVEL,
    DIGEST_BYTES,
    TOTALS_PREFIX,
    decode_ids,
    decode_totals,
    digests_of,
    encode_ids,
    encode_log,
    encode_results,
    encode_totals,
    key_of,
    number_of,
    totals_key,
)

BLOCK_EVENTS_MIN = 256
"""So that events that come alone stay packed; more would rewrite more for each of them."""
LOG_RECORD_BYTES_MAX = 1024 * 1024
"""Of bodies in one log record, unless one delivery alone has more: what feeding must unpack for one event."""
RESULTS_RECORD_BYTES_MAX = 1024 * 1024


@dataclass(slots=True)
class _Block:
    """A block of `fates`; of the last one the digests too. What a transaction changes is a copy."""

    first: int
    rows: Rows
    digests: bytes = b""

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


class Writer:
    """The only writer of a store. All calls on one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self.totals: dict[str, Totals] = {}
        """What is committed. Replaced, never changed in place: another thread may read it."""
        self.next_number = 1
        self._next_result = 1
        self._tail: _Block | None = None
        self._load()

    def write(self, group: Group) -> Written:
        """Commit the group: after this it is on disk.

        Raises IllegalOutcome (our bug), StoreFull, StoreFailed, StoreError; then nothing was written.
        """
        work = _Transaction(self, group)
        with self._store.write_transaction() as txn:
            used_bytes = work.run(txn, self._store)
        self.totals = self.totals | work.totals
        self.next_number = work.next_number
        self._next_result = work.next_result
        self._tail = work.tail
        return Written(work.digests, work.totals, used_bytes)

    def encode(self, appends: Sequence[Append]) -> list[tuple[bytes, bytes]]:
        """The log records of these deliveries: keys and values."""
        return [
            (key_of(run[0].stored.first), encode_log([append.stored for append in run], self._compressor))
            for run in _runs(appends)
        ]

    @property
    def tail(self) -> _Block | None:
        return self._tail

    @property
    def next_result(self) -> int:
        return self._next_result

    def _load(self) -> None:
        store = self._store
        with store.read_transaction() as txn:
            for key, value in _all_after(txn.cursor(db=store.meta), TOTALS_PREFIX):
                self.totals[key[len(TOTALS_PREFIX) :].decode()] = decode_totals(key, value)
            cursor = txn.cursor(db=store.results)
            if cursor.last():
                self._next_result = number_of(b"results", bytes(cursor.key())) + 1
            cursor = txn.cursor(db=store.ids)
            if cursor.last():
                key = bytes(cursor.key())
                self._tail = self._last_block(txn, key, decode_ids(key, bytes(cursor.value())))
                self.next_number = self._tail.end

    def _last_block(self, txn: Any, key: bytes, digests: bytes) -> _Block:
        value = txn.get(key, db=self._store.fates)
        if value is None:
            raise StoreDamaged(f"fates, key {number_of(b'fates', key)}: there is no such record")
        rows = fates.decode_fates(key, bytes(value))
        if len(rows) * DIGEST_BYTES != len(digests):
            raise StoreDamaged(f"fates, key {number_of(b'fates', key)}: the record has another count than the one in ids")
        return _Block(number_of(b"fates", key), rows, digests)


class _Transaction:
    """One group on its way: new values beside the writer's, which take their place after the commit."""

    def __init__(self, writer: Writer, group: Group) -> None:
        self._group = group
        self._before = writer.totals
        self.digests = [digests_of(append.stored) for append in group.appends]
        self._log = writer.encode(group.appends)
        self.next_number = _checked_end(writer.next_number, group.appends)
        self.tail = writer.tail
        self.next_result = writer.next_result
        self.totals: dict[str, Totals] = {}
        self._blocks: dict[int, _Block] = {}
        """Blocks that this group changed, by first number."""
        self._requeued_from: dict[str, int] = {}

    def run(self, txn: Any, store: Store) -> int:
        """Everything between begin and commit. Returns the bytes in use."""
        cursor = txn.cursor(db=store.fates) if self._group.outcomes else None
        results = self._pack_results()
        self._append()
        for outcomes in self._group.outcomes:
            self._apply(outcomes, cursor)
        self._settle_oldest()
        for key, value in self._log:
            txn.put(key, value, db=store.log, append=True)
        if self._group.appends and self.tail:
            key = key_of(self.tail.first)
            txn.put(key, encode_ids(key, self.tail.digests), db=store.ids)
        for first, block in self._blocks.items():
            txn.put(key_of(first), fates.encode_fates(key_of(first), block.rows), db=store.fates)
        for key, value in results:
            txn.put(key, value, db=store.results, append=True)
        for source_id, totals in self.totals.items():
            key = totals_key(source_id)
            txn.put(key, encode_totals(key, totals), db=store.meta)
        return store.used_bytes(txn)

    # New events.

    def _append(self) -> None:
        appends = self._group.appends
        if not appends:
            return
        rows = [
            fates.new_rows(append.stored.facts.count, append.admitted, append.rest, append.stored.facts.received_at_ms)
            for append in appends
        ]
        last = self.tail
        if last and len(last.rows) < BLOCK_EVENTS_MIN:
            joined = b"".join([last.digests, *self.digests])
            self.tail = _Block(last.first, numpy.concatenate([last.rows, *rows]), joined)
        else:
            joined = b"".join(self.digests)
            self.tail = _Block(appends[0].stored.first, numpy.concatenate(rows), joined)
        self._blocks[self.tail.first] = self.tail
        for append in appends:
            self._count_append(append)

    def _count_append(self, append: Append) -> None:
        facts = append.stored.facts
        totals = self._of(facts.source_id)
        others = facts.count - append.admitted
        dropped = others if append.rest == Fate.DROPPED else 0
        pending = facts.count - dropped
        self.totals[facts.source_id] = replace(
            totals,
            received=totals.received + facts.count,
            deferred=totals.deferred + others - dropped,
            deferred_now=totals.deferred_now + others - dropped,
            dropped=totals.dropped + dropped,
            pending=totals.pending + pending,
            oldest=append.stored.first if totals.pending == 0 else totals.oldest,
        )

    # Outcomes of events that are there.

    def _apply(self, outcomes: Outcomes, cursor: Any) -> None:
        """Judge and record, block by block."""
        numbers = outcomes.numbers
        refs = self._refs(outcomes)
        at = 0
        while at < len(numbers):
            block = self._block_with(numbers[at], cursor)
            stop = _bisect(numbers, block.end, at)
            change = fates.apply(block.rows, block.first, outcomes, at, stop, refs)
            self._count_change(outcomes, stop - at, change, numbers[at])
            at = stop

    def _count_change(self, outcomes: Outcomes, count: int, change: fates.Change, first: int) -> None:
        totals = self._of(outcomes.source_id)
        left = change.pending + change.deferred
        stays = outcomes.fate in (Fate.PENDING, Fate.DEFERRED)
        gone = {} if stays else {outcomes.fate.name.lower(): getattr(totals, outcomes.fate.name.lower()) + count}
        if change.requeued:
            self._requeued_from[outcomes.source_id] = min(first, self._requeued_from.get(outcomes.source_id, first))
        self.totals[outcomes.source_id] = replace(
            totals,
            requeued=totals.requeued + change.requeued,
            pending=totals.pending + change.requeued - (0 if stays else left),
            deferred_now=totals.deferred_now - (0 if outcomes.fate == Fate.DEFERRED else change.deferred),
            **gone,
        )

    def _block_with(self, number: int, cursor: Any) -> _Block:
        """The block that holds this number, as this transaction has changed it so far."""
        for block in self._blocks.values():
            if block.first <= number < block.end:
                return block
        if self.tail and self.tail.first <= number < self.tail.end:
            block = self.tail = _Block(self.tail.first, self.tail.rows.copy(), self.tail.digests)
        else:
            block = _read_block(number, cursor)
        self._blocks[block.first] = block
        return block

    def _refs(self, outcomes: Outcomes) -> Rows | None:
        if outcomes.fate == Fate.DUPLICATE:
            return numpy.asarray(outcomes.numbers, "i8") - numpy.asarray(outcomes.originals, "i8")
        if not outcomes.details:
            return None
        return numpy.asarray([self._result_of.get(number, 0) for number in outcomes.numbers], "i8")

    def _pack_results(self) -> list[tuple[bytes, bytes]]:
        """The records of all details, each of about 1 MiB at most; remembers which holds which event's."""
        self._result_of: dict[int, int] = {}
        records = []
        details = (item for outcomes in self._group.outcomes for item in outcomes.details.items())
        for chunk in _chunks(details):
            key = key_of(self.next_result)
            records.append((key, encode_results(key, chunk)))
            self._result_of |= dict.fromkeys(chunk, self.next_result)
            self.next_result += 1
        return records

    # Totals.

    def _of(self, source_id: str) -> Totals:
        return self.totals.get(source_id) or self._before.get(source_id) or Totals()

    def _settle_oldest(self) -> None:
        for source_id in self.totals.keys() | self._group.oldest.keys():
            totals = self._of(source_id)
            oldest = max(totals.oldest, self._group.oldest.get(source_id, 0))
            oldest = min(oldest, self._requeued_from.get(source_id, oldest))
            self.totals[source_id] = replace(totals, oldest=oldest if totals.pending else self.next_number)


def _read_block(number: int, cursor: Any) -> _Block:
    found = cursor.set_range(key_of(number + 1))
    if cursor.prev() if found else cursor.last():
        key = cursor.key()
        block = _Block(number_of(b"fates", key), fates.decode_fates(key, cursor.value()))
        if number < block.end:
            return block
    raise IllegalOutcome(f"there is no event {number}")


def _checked_end(first: int, appends: Sequence[Append]) -> int:
    """The number after the last event. A gap in the numbers would corrupt the store: our bug, and loud."""
    for append in appends:
        count = append.stored.facts.count
        if append.stored.first != first or count == 0 or not 0 <= append.admitted <= count:
            raise ValueError(f"delivery {append.stored.id} does not follow the event {first - 1}")
        if append.admitted < count and append.rest not in (Fate.DEFERRED, Fate.DROPPED):
            raise ValueError(f"delivery {append.stored.id}: the rest cannot be {append.rest!r}")
        first += count
    return first


def _runs(appends: Sequence[Append]) -> Iterable[list[Append]]:
    """Neighbours of one source, as long as their bodies fit one record."""
    run: list[Append] = []
    size = 0
    for append in appends:
        more = len(append.stored.body)
        if run and (
            run[0].stored.facts.source_id != append.stored.facts.source_id or size + more > LOG_RECORD_BYTES_MAX
        ):
            yield run
            run, size = [], 0
        run.append(append)
        size += more
    if run:
        yield run


def _chunks(details: Iterable[tuple[int, bytes]]) -> Iterable[dict[int, bytes]]:
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


def _bisect(numbers: Sequence[int], end: int, at: int) -> int:
    """The first place from `at` on whose number is `end` or more."""
    from bisect import bisect_left

    return bisect_left(numbers, end, at)


def _all_after(cursor: Any, prefix: bytes) -> Iterable[tuple[bytes, Mapping[str, int]]]:
    found = cursor.set_range(prefix)
    while found and bytes(cursor.key()).startswith(prefix):
        yield bytes(cursor.key()), bytes(cursor.value())
        found = cursor.next()
