"""One group on its way to the disk: the only code that changes the store.

Order of operations: encode what depends on the group alone; begin; read the blocks of statuses that change; judge every
change; put; remove what leaves, by the statuses as they are then; put the totals; commit. The state before is never
touched, so a failure anywhere leaves it as it was.

The number of LMDB calls depends on how many sources, blocks and MiB a group touches, not on its events: each call gives
up the interpreter lock and may wait long to get it back. For the same reason the last block of `ids` and `statuses`,
which nearly every group extends, is held in memory.

A block takes the events of whole groups: a group joins the last block while that holds fewer than BLOCK_EVENTS_MIN
events. `ids` and `statuses` are split identically, and no `log` record reaches over the end of a block.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy
import zstandard

from storage.codec import status_rows
from storage.codec.log_record import encode_log, split_log
from storage.codec.pieces import in_pieces
from storage.codec.records import (
    TIME_KEY,
    body_digests_of,
    digests_of,
    encode_body_digests,
    encode_ids,
    encode_results,
    encode_time,
    encode_totals,
    key_of,
    number_of,
    split_results,
    totals_key,
)
from storage.codec.status_rows import Rows
from storage.errors import IllegalStatusChange
from storage.frozen import frozen
from storage.lmdb_store.environment import Store
from storage.model import Append, Group, StatusChange
from storage.retain.remove import Remover
from storage.statuses import NEW_MOVES, PENDING_STATUSES, EventStatus, Totals
from storage.store_time import StoreTime
from storage.write.ready_made import erase, put_index, put_replays
from storage.write.totals_delta import TotalsDelta, TotalsDeltas

BLOCK_EVENTS_MIN = 256
"""So that events that come alone stay packed; more would rewrite more for each of them."""


@frozen
class LastBlock:
    """The last block of `ids` and `statuses`, which the next group may join."""

    first: int
    rows: Rows
    digests: bytes

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


@frozen
class WriterState:
    """What the writer knows of the committed store."""

    totals: dict[str, Totals]
    next_number: int
    next_result: int
    last: LastBlock | None
    index_bytes: int
    """Of the pages of the look-up index, which few groups change."""


class Transaction:
    """One group: `run` inside a write transaction, and once that is committed `state()` is what holds."""

    def __init__(
        self, before: WriterState, group: Group, time: StoreTime, compressor: zstandard.ZstdCompressor
    ) -> None:
        """Do everything that needs no transaction."""
        self._before = before
        self._time = time
        self._group = group
        self._next_number = _checked_end(before.next_number, group.appends)
        self._next_result = before.next_result
        self._deltas = TotalsDeltas(before.totals, self._next_number)
        self._blocks: dict[int, Rows] = {}
        """The rows of the blocks that this group changes, by first number."""
        self._result_of: dict[int, int] = {}
        self._history_of: dict[int, int] = {}
        self.digests = [digests_of(append.numbered) for append in group.appends]
        """For each append, 16 bytes an event."""
        self.body_digests = [body_digests_of(append.numbered) for append in group.appends]
        """For each append, 16 bytes an event, or nothing."""
        records = list(split_log([append.numbered for append in group.appends]))
        self._log = [(key_of(record.first), *encode_log(record, compressor)) for record in records]
        self._body_digests = [
            (key_of(record.first), body_digests_of(record)) for record in records if record.has_body_hashes
        ]
        self._results = self._pack_results()
        self._last = self._joined()
        self._index_bytes = before.index_bytes
        self.totals: dict[str, Totals] = {}
        """The new totals of the sources that the group touches, once it ran."""

    def run(self, txn: Any, store: Store) -> int:
        """Do everything between begin and commit; return the bytes in use. Raises IllegalStatusChange."""
        cursor = txn.cursor(db=store.statuses) if self._group.changes else None
        for change in self._group.changes:
            self._apply(change, cursor)
        for key, facts, bodies in self._log:
            for piece_key, piece in in_pieces(key, facts):
                txn.put(piece_key, piece, db=store.facts, append=True)
            for piece_key, piece in () if bodies is None else in_pieces(key, bodies):
                txn.put(piece_key, piece, db=store.bodies, append=True)
        for key, digests in self._body_digests:
            txn.put(key, encode_body_digests(key, digests), db=store.body_digests, append=True)
        if self._last and self._group.appends:
            key = key_of(self._last.first)
            txn.put(key, encode_ids(key, self._last.digests), db=store.ids)
        for first, rows in self._blocks.items():
            key = key_of(first)
            txn.put(key, status_rows.encode_statuses(key, rows), db=store.statuses)
        for key, value in self._results:
            txn.put(key, value, db=store.results, append=True)
        if self._group.removal is not None:
            Remover(txn, store, self._count_removed).remove(self._group.removal, self._time.host.wall_ms)
        if self._group.erasure is not None:
            erase(self._group.erasure, txn, store, self._count_removed)
        put_replays(self._group.replays, txn, store)
        if self._group.index is not None:
            put_index(self._group.index, txn, store)
            self._index_bytes = store.bytes_of(txn, "index")
        self.totals = self._deltas.new_totals(self._group.oldest)
        for source_id, totals in self.totals.items():
            key = totals_key(source_id)
            txn.put(key, encode_totals(key, totals), db=store.meta)
        txn.put(TIME_KEY, encode_time(self._time), db=store.meta)
        return store.used_bytes(txn, self._index_bytes)

    def state(self) -> WriterState:
        """Return what the writer knows; call once this is committed."""
        last = self._last
        if last and last.first in self._blocks:
            last = LastBlock(last.first, self._blocks[last.first], last.digests)
        return WriterState(
            self._before.totals | self.totals, self._next_number, self._next_result, last, self._index_bytes
        )

    # New events.

    def _joined(self) -> LastBlock | None:
        """Return the last block with the group's events in it, and count them."""
        appends = self._group.appends
        last = self._before.last
        if not appends:
            return last
        rows, digests = status_rows.new_rows(appends), b"".join(self.digests)
        first = appends[0].numbered.first
        if last and len(last.rows) < BLOCK_EVENTS_MIN:
            first, rows, digests = last.first, status_rows.joined(last.rows, rows), last.digests + digests
        last = LastBlock(first, rows, digests)
        self._blocks[first] = last.rows
        for (source_id, is_replay), run in groupby(appends, _source_of):
            self._count_appends(self._deltas.of(source_id), list(run), replayed=is_replay)
        return last

    def _count_appends(self, delta: TotalsDelta, appends: Sequence[Append], *, replayed: bool) -> None:
        """Count deliveries of one source that are all new, or all replayed."""
        admitted, events = 0, [0] * len(NEW_MOVES)
        for append in appends:
            rest = append.numbered.count - append.admitted
            admitted += append.admitted
            events[append.rest] += rest
            if delta.first_pending is None and (append.admitted or append.rest in PENDING_STATUSES):
                delta.made_pending(append.numbered.first)
        events[EventStatus.PENDING] += admitted
        delta.add_new(events, replayed=replayed)

    def _count_removed(self, source_id: str, counter: str, events: int) -> None:
        self._deltas.of(source_id).add(counter, events)

    # Events that are there.

    def _apply(self, change: StatusChange, cursor: Any) -> None:
        """Judge and record, block by block."""
        numbers = change.numbers
        if any(len(column) != len(numbers) for column in _columns(change)):
            raise IllegalStatusChange(f"{change.source_id}: the columns of a change have unequal lengths")
        refs, histories = self._refs(change), _places(change.numbers, change.histories, self._history_of)
        at = 0
        while at < len(numbers):
            first, rows = self._block_with(numbers[at], cursor)
            stop = bisect_left(numbers, first + len(rows), at)
            own_refs = None if refs is None else refs[at:stop]
            own_histories = None if histories is None else histories[at:stop]
            part = status_rows.BlockChange(change, at, stop, own_refs, own_histories)
            delta = self._deltas.of(change.source_id)
            delta.change(status_rows.apply(rows, first, part), change.status)
            if change.status in PENDING_STATUSES:
                delta.made_pending(numbers[at])
            at = stop

    def _block_with(self, number: int, cursor: Any) -> tuple[int, Rows]:
        """Return first number and rows of the block that holds this number, as the group has changed it so far."""
        for first, rows in self._blocks.items():
            if first <= number < first + len(rows):
                return first, rows
        last = self._before.last
        if last and last.first <= number < last.end:
            first, rows = last.first, last.rows.copy()
        else:
            first, rows = _read_block(number, cursor)
        self._blocks[first] = rows
        return first, rows

    def _refs(self, change: StatusChange) -> Rows | None:
        """Return what each row refers to; None if none refers to anything."""
        if change.status == EventStatus.DUPLICATE:
            distances: Rows = numpy.asarray(change.numbers, "i8") - numpy.asarray(change.originals, "i8")
            return distances
        return _places(change.numbers, change.details, self._result_of)

    def _pack_results(self) -> list[tuple[bytes, bytes]]:
        """Return the records of all details and histories; note which one holds which event's."""
        details = (item for change in self._group.changes for item in change.details.items())
        histories = (item for change in self._group.changes for item in change.histories.items())
        return [*self._packed(details, self._result_of), *self._packed(histories, self._history_of)]

    def _packed(self, texts: Iterable[tuple[int, bytes]], places: dict[int, int]) -> Iterator[tuple[bytes, bytes]]:
        for chunk in split_results(texts):
            key = key_of(self._next_result)
            places |= dict.fromkeys(chunk, self._next_result)
            self._next_result += 1
            yield key, encode_results(key, chunk)


def _source_of(append: Append) -> tuple[str, bool]:
    """Return its source, and whether it is replayed."""
    return append.numbered.source_id, bool(append.numbered.deliveries.replay_of)


def _columns(change: StatusChange) -> list[Sequence[int]]:
    return [change.attempts, change.originals] if change.status == EventStatus.DUPLICATE else [change.attempts]


def _places(numbers: Sequence[int], texts: Mapping[int, bytes], places: Mapping[int, int]) -> Rows | None:
    """Return for each number the key of the record that holds its text, 0 for none; None if there is no text at all."""
    return numpy.asarray([places.get(number, 0) for number in numbers], "i8") if texts else None


def _read_block(number: int, cursor: Any) -> tuple[int, Rows]:
    found = cursor.set_range(key_of(number + 1))
    if cursor.prev() if found else cursor.last():
        key = cursor.key()
        first, rows = number_of(b"statuses", key), status_rows.decode_statuses(key, cursor.value())
        if number < first + len(rows):
            return first, rows
    raise IllegalStatusChange(f"there is no event {number}")


def _checked_end(first: int, appends: Sequence[Append]) -> int:
    """Return the number after the last event. A gap in the numbers would corrupt the store: our bug, and loud."""
    for append in appends:
        count = append.numbered.count
        if append.numbered.first != first or count == 0 or not 0 <= append.admitted <= count:
            raise ValueError(f"the delivery of event {append.numbered.first} does not follow the event {first - 1}")
        if append.admitted < count and not NEW_MOVES[append.rest]:
            raise ValueError(f"the rest of the delivery of event {first} cannot begin as {append.rest.name}")
        first += count
    return first
