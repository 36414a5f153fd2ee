"""What became of a block of events: rows for computing, run-length bytes for the disk.

A row holds a status, the attempts, when the outcome was recorded (by the wall clock, and by the store's time), and a
reference: for a duplicate the distance to the
event that was processed (number - original), so that a batch sent again stays one run; otherwise the key of the
`results` record that holds the event's detail, 0 where there is none.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from storage.codec.records import damaged, seal, unseal
from storage.errors import IllegalOutcome
from storage.model import PENDING_STATUSES, Append, EventStatus, StatusChange
from storage.record import record

Rows = NDArray[Any]
ROW = numpy.dtype([("status", "<u4"), ("attempts", "<u4"), ("at_ms", "<u8"), ("store_ms", "<u8"), ("ref", "<i8")])
_COUNT = struct.Struct("<I")
_WHOLE = f"S{ROW.itemsize}"
"""A row as bytes, to be copied and compared at once: numpy takes structured rows field by field, through Python."""


def new_rows(appends: Sequence[Append], store_ms: int) -> Rows:
    """Rows of new deliveries: of each, the first `admitted` events are pending, the others have the status `rest`."""
    rows = numpy.zeros(sum([append.numbered.count for append in appends]), ROW)
    at = 0
    for append in appends:
        end = at + append.numbered.count
        if append.admitted < end - at:
            rest = rows[at + append.admitted : end]
            rest["status"] = append.rest
            if append.rest == EventStatus.DROPPED:
                rest["at_ms"] = append.numbered.deliveries.received_at_ms[0]
                rest["store_ms"] = store_ms
        at = end
    return rows


def joined(rows: Rows, more: Rows) -> Rows:
    """Those and then these, as rows of their own."""
    return numpy.concatenate((rows.view(_WHOLE), more.view(_WHOLE))).view(ROW)


def encode_statuses(key: bytes, rows: Rows) -> bytes:
    whole = rows.view(_WHOLE)
    cuts = numpy.ones(len(rows) + 1, "?")
    numpy.not_equal(whole[1:], whole[:-1], out=cuts[1:-1])
    (ends,) = cuts.nonzero()
    counts = (ends[1:] - ends[:-1]).astype("<u4")
    return seal(b"statuses", key, _COUNT.pack(len(counts)) + counts.tobytes() + whole[ends[:-1]].tobytes())


def decode_statuses(key: bytes, value: bytes) -> Rows:
    """The rows of a block, writable and the caller's own."""
    counts, runs = decode_runs(key, value)
    return runs.repeat(counts)


def decode_runs(key: bytes, value: bytes) -> tuple[NDArray[numpy.uint32], Rows]:
    """The runs as stored, to look at without unrolling them: how many events each stands for, and their row."""
    payload = unseal(b"statuses", key, value)
    count = _COUNT.unpack_from(payload)[0] if len(payload) >= _COUNT.size else 0
    if count == 0 or len(payload) != _COUNT.size + count * (4 + ROW.itemsize):
        raise damaged(b"statuses", key, "the record has another length")
    counts = numpy.frombuffer(payload, "<u4", count, _COUNT.size)
    runs = numpy.frombuffer(payload, ROW, count, _COUNT.size + 4 * count)
    if runs["status"].max() > max(EventStatus) or not counts.all():
        raise damaged(b"statuses", key, "a run is impossible")
    return counts, runs


@record
class Part:
    """The outcomes `start` .. `stop - 1` of some, which are all in one block."""

    outcomes: StatusChange
    start: int
    stop: int
    refs: Rows | None
    """For each of them what its row refers to; None: nothing."""
    store_ms: int


@record
class Change:
    """Of how many events what was changed, by the status they had."""

    pending: int
    deferred: int
    dead: int
    first_dead: int | None
    """The smallest number among the dead."""


def apply(rows: Rows, first: int, part: Part) -> Change:
    """Record outcomes in the rows of the block that starts with the number `first`, in place. Raises IllegalOutcome.

    The caller knows that the first number is in the block and the last one before its end.
    """
    outcomes = part.outcomes
    at_ms, store_ms = (0, 0) if outcomes.status in PENDING_STATUSES else (outcomes.at_ms, part.store_ms)
    if part.stop - part.start == 1:  # one is put as it is: columns of one take three times as long
        number, attempts = outcomes.numbers[part.start], outcomes.attempts[part.start]
        had = int(rows["status"][number - first])
        change = _judge([int(status == had) for status in EventStatus], outcomes, number)
        rows[number - first] = (outcomes.status, attempts, at_ms, store_ms, 0 if part.refs is None else part.refs[0])
        return change
    places = numpy.asarray(outcomes.numbers[part.start : part.stop], "i8") - first
    if not (places[1:] > places[:-1]).all():
        raise IllegalOutcome(f"numbers of {outcomes.source_id} do not ascend")
    before = rows["status"][places]
    dead = places[before == EventStatus.DEAD]
    counts = numpy.bincount(before, minlength=len(EventStatus)).tolist()
    change = _judge(counts, outcomes, first + int(dead[0]) if len(dead) else None)
    rows["status"][places] = outcomes.status
    rows["attempts"][places] = outcomes.attempts[part.start : part.stop]
    rows["at_ms"][places] = at_ms
    rows["store_ms"][places] = store_ms
    rows["ref"][places] = 0 if part.refs is None else part.refs
    return change


def _judge(counts: Sequence[int], outcomes: StatusChange, first_dead: int | None) -> Change:
    """What is changed, from how many events had each status.

    Only a pending event may have an outcome, only a dead one may be requeued.
    """
    pending, deferred, dead = counts[EventStatus.PENDING], counts[EventStatus.DEFERRED], counts[EventStatus.DEAD]
    allowed = deferred
    if outcomes.status != EventStatus.DEFERRED:
        allowed += pending
    if outcomes.status == EventStatus.PENDING:
        allowed += dead
    if allowed != sum(counts):
        had = sorted(status.name for status in EventStatus if counts[status])
        raise IllegalOutcome(f"{outcomes.status.name} for events of {outcomes.source_id} that are {', '.join(had)}")
    return Change(pending, deferred, dead, first_dead if dead else None)
