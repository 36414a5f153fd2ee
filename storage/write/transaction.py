"""One group on its way to the disk: the only code that changes the store.

Order of operations: encode what depends on the group alone; begin; read the blocks of statuses that change; judge every
outcome; put; commit. The state before is never touched, so a failure anywhere leaves it as it was.

The number of LMDB calls depends on how many sources, blocks and MiB a group touches, not on its events: each call gives
up the interpreter lock and may wait long to get it back. For the same reason the last block of `ids` and `statuses`,
which nearly every group extends, is held in memory.

A block takes the events of whole groups: a group joins the last block while that holds fewer than BLOCK_EVENTS_MIN
events. `ids` and `statuses` are split identically, and no `log` record reaches over the end of a block.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy
import zstandard

from storage.codec import statuses
from storage.codec.log_record import encode_log, split_log
from storage.codec.records import (
    TIME_KEY,
    digests_of,
    encode_ids,
    encode_results,
    encode_time,
    encode_totals,
    key_of,
    number_of,
    split_results,
    totals_key,
)
from storage.codec.statuses import Rows
from storage.errors import IllegalOutcome
from storage.lmdb_store.environment import Store
from storage.model import PENDING_STATUSES, Append, EventStatus, Group, StatusChange, Totals
from storage.record import record
from storage.store_time import HostTime, StoreTime, store_time
from storage.write.totals_delta import Accounts, Count

BLOCK_EVENTS_MIN = 256
"""So that events that come alone stay packed; more would rewrite more for each of them."""


@record
class Tail:
    """The last block: what the next group may join."""

    first: int
    rows: Rows
    digests: bytes

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


@record
class State:
    """What the writer knows of the committed store."""

    totals: dict[str, Totals]
    next_number: int
    next_result: int
    tail: Tail | None
    time: StoreTime | None
    """As written last; None before the first group."""


class Transaction:
    """One group: `run` inside a write transaction, and once that is committed `state()` is what holds."""

    def __init__(self, before: State, group: Group, host: HostTime, compressor: zstandard.ZstdCompressor) -> None:
        """All that needs no transaction."""
        self._before = before
        self._time = store_time(before.time, host)
        self._group = group
        self._next_number = _checked_end(before.next_number, group.appends)
        self._next_result = before.next_result
        self._accounts = Accounts(before.totals, self._next_number)
        self._blocks: dict[int, Rows] = {}
        """The rows of the blocks that this group changes, by first number."""
        self._result_of: dict[int, int] = {}
        self.digests = [digests_of(append.numbered) for append in group.appends]
        """For each append, 16 bytes an event."""
        self._log = [
            (key_of(record.first), *encode_log(record, compressor))
            for record in split_log([append.numbered for append in group.appends])
        ]
        self._results = self._pack_results()
        self._tail = self._joined()
        self.totals: dict[str, Totals] = {}
        """The new totals of the sources that the group touches, once it ran."""

    def run(self, txn: Any, store: Store) -> int:
        """Everything between begin and commit. Returns the bytes in use. Raises IllegalOutcome."""
        cursor = txn.cursor(db=store.statuses) if self._group.outcomes else None
        for outcomes in self._group.outcomes:
            self._apply(outcomes, cursor)
        self.totals = self._accounts.new_totals(self._group.oldest)
        for key, facts, bodies in self._log:
            txn.put(key, facts, db=store.facts, append=True)
            if bodies is not None:
                txn.put(key, bodies, db=store.bodies, append=True)
        if self._tail and self._group.appends:
            key = key_of(self._tail.first)
            txn.put(key, encode_ids(key, self._tail.digests), db=store.ids)
        for first, rows in self._blocks.items():
            key = key_of(first)
            txn.put(key, statuses.encode_statuses(key, rows), db=store.statuses)
        for key, value in self._results:
            txn.put(key, value, db=store.results, append=True)
        for source_id, totals in self.totals.items():
            key = totals_key(source_id)
            txn.put(key, encode_totals(key, totals), db=store.meta)
        txn.put(TIME_KEY, encode_time(self._time), db=store.meta)
        return store.used_bytes(txn)

    def state(self) -> State:
        """What the writer knows once this is committed."""
        tail = self._tail
        if tail and tail.first in self._blocks:
            tail = Tail(tail.first, self._blocks[tail.first], tail.digests)
        return State(self._before.totals | self.totals, self._next_number, self._next_result, tail, self._time)

    # New events.

    def _joined(self) -> Tail | None:
        """The last block with the group's events in it."""
        appends = self._group.appends
        last = self._before.tail
        if not appends:
            return last
        rows, digests = statuses.new_rows(appends, self._time.store_ms), b"".join(self.digests)
        first = appends[0].numbered.first
        if last and len(last.rows) < BLOCK_EVENTS_MIN:
            first, rows, digests = last.first, statuses.joined(last.rows, rows), last.digests + digests
        tail = Tail(first, rows, digests)
        self._blocks[first] = tail.rows
        for source_id, run in groupby(appends, lambda append: append.numbered.source_id):
            self._count_appends(self._accounts.of(source_id), list(run))
        return tail

    def _count_appends(self, count: Count, appends: Sequence[Append]) -> None:
        """Deliveries of one source."""
        received = admitted = dropped = 0
        for append in appends:
            events = append.numbered.count
            received += events
            admitted += append.admitted
            if append.rest == EventStatus.DROPPED:
                dropped += events - append.admitted
                pending = append.admitted
            else:
                pending = events
            if pending and count.first_pending is None:
                count.made_pending(append.numbered.first)
        deferred = received - admitted - dropped
        count.received += received
        count.dropped += dropped
        count.deferred += deferred
        count.deferred_now += deferred
        count.pending += admitted + deferred

    # Outcomes of events that are there.

    def _apply(self, outcomes: StatusChange, cursor: Any) -> None:
        """Judge and record, block by block."""
        numbers = outcomes.numbers
        if any(len(column) != len(numbers) for column in _columns(outcomes)):
            raise IllegalOutcome(f"outcomes of {outcomes.source_id} have unequal lengths")
        refs = self._refs(outcomes)
        at = 0
        while at < len(numbers):
            first, rows = self._block_with(numbers[at], cursor)
            stop = bisect_left(numbers, first + len(rows), at)
            part = statuses.Part(outcomes, at, stop, None if refs is None else refs[at:stop], self._time.store_ms)
            self._count_change(outcomes, numbers[at], statuses.apply(rows, first, part))
            at = stop

    def _count_change(self, outcomes: StatusChange, first: int, change: statuses.Change) -> None:
        """`first` is the smallest number of these events. That it is pending now is sure, also where it was before."""
        count = self._accounts.of(outcomes.source_id)
        if outcomes.status != EventStatus.DEFERRED:
            count.deferred_now -= change.deferred
        if outcomes.status in PENDING_STATUSES:
            count.made_pending(first)
            count.requeued += change.dead
            count.pending += change.dead
        else:
            ended = change.pending + change.deferred
            count.pending -= ended
            name = outcomes.status.name.lower()
            setattr(count, name, getattr(count, name) + ended)

    def _block_with(self, number: int, cursor: Any) -> tuple[int, Rows]:
        """First number and rows of the block that holds this number, as the group has changed it so far."""
        for first, rows in self._blocks.items():
            if first <= number < first + len(rows):
                return first, rows
        tail = self._before.tail
        if tail and tail.first <= number < tail.end:
            first, rows = tail.first, tail.rows.copy()
        else:
            first, rows = _read_block(number, cursor)
        self._blocks[first] = rows
        return first, rows

    def _refs(self, outcomes: StatusChange) -> Rows | None:
        """What each row refers to; None where none refers to anything."""
        if outcomes.status == EventStatus.DUPLICATE:
            distances: Rows = numpy.asarray(outcomes.numbers, "i8") - numpy.asarray(outcomes.originals, "i8")
            return distances
        if not outcomes.details:
            return None
        return numpy.asarray([self._result_of.get(number, 0) for number in outcomes.numbers], "i8")

    def _pack_results(self) -> list[tuple[bytes, bytes]]:
        """The records of all details; remembers which holds which event's."""
        records = []
        details = (item for outcomes in self._group.outcomes for item in outcomes.details.items())
        for chunk in split_results(details):
            key = key_of(self._next_result)
            records.append((key, encode_results(key, chunk)))
            self._result_of |= dict.fromkeys(chunk, self._next_result)
            self._next_result += 1
        return records


def _columns(outcomes: StatusChange) -> list[Sequence[int]]:
    return [outcomes.attempts, outcomes.originals] if outcomes.status == EventStatus.DUPLICATE else [outcomes.attempts]


def _read_block(number: int, cursor: Any) -> tuple[int, Rows]:
    found = cursor.set_range(key_of(number + 1))
    if cursor.prev() if found else cursor.last():
        key = cursor.key()
        first, rows = number_of(b"statuses", key), statuses.decode_statuses(key, cursor.value())
        if number < first + len(rows):
            return first, rows
    raise IllegalOutcome(f"there is no event {number}")


def _checked_end(first: int, appends: Sequence[Append]) -> int:
    """The number after the last event. A gap in the numbers would corrupt the store: our bug, and loud."""
    for append in appends:
        count = append.numbered.count
        if append.numbered.first != first or count == 0 or not 0 <= append.admitted <= count:
            raise ValueError(f"the delivery of event {append.numbered.first} does not follow the event {first - 1}")
        if append.admitted < count and append.rest not in (EventStatus.DEFERRED, EventStatus.DROPPED):
            raise ValueError(f"the rest of the delivery of event {first} cannot be {append.rest!r}")
        first += count
    return first
