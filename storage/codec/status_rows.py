"""The statuses of a block of events: rows for computing, run-length bytes for the disk.

A row holds a status, the attempts, when the outcome was recorded, the store's time (of the outcome; of the receipt
while it is pending, or 0 once it was requeued), and a reference: for a duplicate the distance to the event that was
processed (number - original), so that a batch sent again stays one run; otherwise the key of the `results` record that
holds the event's detail, 0 if there is none. Last, the key of the `results` record that holds the event's history, 0 if
it never died.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from storage.codec.records import damaged, seal, unseal
from storage.errors import IllegalStatusChange
from storage.frozen import frozen
from storage.model import Append, StatusChange
from storage.statuses import CANNOT_FOLLOW, PENDING_STATUSES, RULES, EventStatus

Rows = NDArray[Any]
_OLD_ROW = numpy.dtype([("status", "<u4"), ("attempts", "<u4"), ("at_ms", "<u8"), ("store_ms", "<u8"), ("ref", "<i8")])
"""A row of a store that was written before there was a history."""
ROW = numpy.dtype([*_OLD_ROW.descr, ("history", "<i8")])
_COUNT = struct.Struct("<I")
_STATUSES = len(EventStatus)
_WHOLE = f"S{ROW.itemsize}"
"""A row as bytes, to be copied and compared at once: numpy takes structured rows field by field, through Python."""


_IS_PENDING = numpy.array([status in PENDING_STATUSES for status in EventStatus])


def is_pending(statuses: NDArray[Any]) -> NDArray[numpy.bool_]:
    """Return for each status of this column whether it is a pending one."""
    return _IS_PENDING.take(statuses)


def new_rows(appends: Sequence[Append]) -> Rows:
    """Return rows of new deliveries: of each, the first `admitted` events are pending, the others have `rest`."""
    rows = numpy.zeros(sum([append.numbered.count for append in appends]), ROW)
    at = 0
    for append in appends:
        end = at + append.numbered.count
        rows["store_ms"][at:end] = append.store_ms
        if append.admitted < end - at:
            rest = rows[at + append.admitted : end]
            rest["status"] = append.rest
            if append.rest not in PENDING_STATUSES:
                rest["at_ms"] = append.numbered.deliveries.received_at_ms[0]
        at = end
    return rows


def joined(rows: Rows, more: Rows) -> Rows:
    """Return those and then these, as rows of their own."""
    return numpy.concatenate((rows.view(_WHOLE), more.view(_WHOLE))).view(ROW)


def encode_statuses(key: bytes, rows: Rows) -> bytes:
    whole = rows.view(_WHOLE)
    cuts = numpy.ones(len(rows) + 1, "?")
    numpy.not_equal(whole[1:], whole[:-1], out=cuts[1:-1])
    (ends,) = cuts.nonzero()
    counts = (ends[1:] - ends[:-1]).astype("<u4")
    return seal(b"statuses", key, _COUNT.pack(len(counts)) + counts.tobytes() + whole[ends[:-1]].tobytes())


def decode_statuses(key: bytes, value: bytes) -> Rows:
    """Return the rows of a block, writable and the caller's own."""
    counts, runs = decode_runs(key, value)
    return runs.repeat(counts)


def decode_runs(key: bytes, value: bytes) -> tuple[NDArray[numpy.uint32], Rows]:
    """Return the runs as stored, to look at without unrolling them: how many events each stands for, and their row."""
    payload = unseal(b"statuses", key, value)
    count = _COUNT.unpack_from(payload)[0] if len(payload) >= _COUNT.size else 0
    width = (len(payload) - _COUNT.size) // count - 4 if count else 0
    if width not in (ROW.itemsize, _OLD_ROW.itemsize) or len(payload) != _COUNT.size + count * (4 + width):
        raise damaged(b"statuses", key, "the record has another length")
    counts = numpy.frombuffer(payload, "<u4", count, _COUNT.size)
    stored = numpy.frombuffer(payload, ROW if width == ROW.itemsize else _OLD_ROW, count, _COUNT.size + 4 * count)
    runs = stored if width == ROW.itemsize else _with_history(stored)
    if runs["status"].max() >= _STATUSES or not counts.all():
        raise damaged(b"statuses", key, "a run is impossible")
    return counts, runs


def _with_history(old: Rows) -> Rows:
    rows = numpy.zeros(len(old), ROW)
    for name in _OLD_ROW.names or ():
        rows[name] = old[name]
    return rows


@frozen
class BlockChange:
    """The part `start` .. `stop - 1` of a status change, all in one block."""

    change: StatusChange
    start: int
    stop: int
    refs: Rows | None
    """For each event what its row refers to; None: nothing, or what it did before while an event stays pending."""
    histories: Rows | None
    """For each event where its history is; None: where it was."""


def apply(rows: Rows, first: int, part: BlockChange) -> Sequence[int]:
    """Record a change in the rows of the block that starts with the number `first`, in place; call only with numbers
    in this block. Return how many of the events had each status before.

    Raises IllegalStatusChange.
    """
    change = part.change
    pends = change.status in PENDING_STATUSES
    at_ms = 0 if pends else change.at_ms
    if part.stop - part.start == 1 and not _adds(change):  # columns of one take three times as long
        number, attempts = change.numbers[part.start], change.attempts[part.start]
        one = [0] * _STATUSES
        row = rows[number - first]
        one[row["status"]] = 1
        _check(one, change)
        store_ms = _kept_ms(row) if pends else change.store_ms
        ref = (_kept_refs(row) if pends else 0) if part.refs is None else part.refs[0]
        history = row["history"] if part.histories is None else part.histories[0]
        rows[number - first] = (change.status, attempts, at_ms, store_ms, ref, history)
        return one
    places = numpy.asarray(change.numbers[part.start : part.stop], "i8") - first
    if not (places[1:] > places[:-1]).all():
        raise IllegalStatusChange(f"{change.source_id}: the numbers of a change do not ascend")
    before: list[int] = numpy.bincount(rows["status"][places], minlength=_STATUSES).tolist()
    _check(before, change)
    if not _adds(change):
        nothing = _kept_refs(rows[places]) if pends else 0
        rows["ref"][places] = nothing if part.refs is None else part.refs
        rows["attempts"][places] = change.attempts[part.start : part.stop]
        rows["at_ms"][places] = at_ms
    rows["store_ms"][places] = _kept_ms(rows[places]) if pends else change.store_ms
    rows["status"][places] = change.status
    if part.histories is not None:
        rows["history"][places] = part.histories
    return before


def _adds(change: StatusChange) -> bool:
    """Return whether the events keep when, how and of what they ended."""
    return RULES[change.status].part_of is not None


def _kept_refs(rows: Rows) -> NDArray[numpy.int64]:
    """Return what these events, which are pending then, go on referring to: nothing if they were dead."""
    return numpy.where(is_pending(rows["status"]), rows["ref"], 0)


def _kept_ms(rows: Rows) -> NDArray[numpy.uint64]:
    """Return the store's time of what these events are pending from: their receipt, or 0 if they were dead."""
    return numpy.where(is_pending(rows["status"]), rows["store_ms"], numpy.uint64(0))


def _check(before: Sequence[int], change: StatusChange) -> None:
    wrong = [status.name for status in CANNOT_FOLLOW[change.status] if before[status]]
    if wrong:
        raise IllegalStatusChange(f"{change.source_id}: {change.status.name} cannot follow {' or '.join(wrong)}")
