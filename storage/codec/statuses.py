"""What became of a block of events: rows for computing, run-length bytes for the disk.

A row holds a fate, the attempts, when the outcome was recorded, and a reference: for a duplicate the distance to the
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
from storage.model import PENDING_FATES, Append, Fate, Outcomes
from storage.record import record

Rows = NDArray[Any]
ROW = numpy.dtype([("fate", "<u4"), ("attempts", "<u4"), ("at_ms", "<u8"), ("ref", "<i8")])
_COUNT = struct.Struct("<I")
_WHOLE = f"S{ROW.itemsize}"
"""A row as bytes, to be copied and compared at once: numpy takes structured rows field by field, through Python."""


def new_rows(appends: Sequence[Append]) -> Rows:
    """Rows of new deliveries: of each, the first `admitted` events are pending, the others have the fate `rest`."""
    rows = numpy.zeros(sum([append.stored.count for append in appends]), ROW)
    at = 0
    for append in appends:
        end = at + append.stored.count
        if append.admitted < end - at:
            rest = rows[at + append.admitted : end]
            rest["fate"] = append.rest
            if append.rest == Fate.DROPPED:
                rest["at_ms"] = append.stored.received_at_ms
        at = end
    return rows


def joined(rows: Rows, more: Rows) -> Rows:
    """Those and then these, as rows of their own."""
    return numpy.concatenate((rows.view(_WHOLE), more.view(_WHOLE))).view(ROW)


def encode_fates(key: bytes, rows: Rows) -> bytes:
    whole = rows.view(_WHOLE)
    cuts = numpy.ones(len(rows) + 1, "?")
    numpy.not_equal(whole[1:], whole[:-1], out=cuts[1:-1])
    (ends,) = cuts.nonzero()
    counts = (ends[1:] - ends[:-1]).astype("<u4")
    return seal(b"fates", key, _COUNT.pack(len(counts)) + counts.tobytes() + whole[ends[:-1]].tobytes())


def decode_fates(key: bytes, value: bytes) -> Rows:
    """The rows of a block, writable and the caller's own."""
    counts, runs = decode_runs(key, value)
    return runs.repeat(counts)


def decode_runs(key: bytes, value: bytes) -> tuple[NDArray[numpy.uint32], Rows]:
    """The runs as stored, to look at without unrolling them: how many events each stands for, and their row."""
    payload = unseal(b"fates", key, value)
    count = _COUNT.unpack_from(payload)[0] if len(payload) >= _COUNT.size else 0
    if count == 0 or len(payload) != _COUNT.size + count * (4 + ROW.itemsize):
        raise damaged(b"fates", key, "the record has another length")
    counts = numpy.frombuffer(payload, "<u4", count, _COUNT.size)
    runs = numpy.frombuffer(payload, ROW, count, _COUNT.size + 4 * count)
    if runs["fate"].max() > max(Fate) or not counts.all():
        raise damaged(b"fates", key, "a run is impossible")
    return counts, runs


@record
class Part:
    """The outcomes `start` .. `stop - 1` of some, which are all in one block."""

    outcomes: Outcomes
    start: int
    stop: int
    refs: Rows | None
    """For each of them what its row refers to; None: nothing."""


@record
class Change:
    """Of how many events what was changed, by the fate they had."""

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
    at_ms = 0 if outcomes.fate in PENDING_FATES else outcomes.at_ms
    if part.stop - part.start == 1:  # one is put as it is: columns of one take three times as long
        number, attempts = outcomes.numbers[part.start], outcomes.attempts[part.start]
        had = int(rows["fate"][number - first])
        change = _judge([int(fate == had) for fate in Fate], outcomes, number)
        rows[number - first] = (outcomes.fate, attempts, at_ms, 0 if part.refs is None else part.refs[0])
        return change
    places = numpy.asarray(outcomes.numbers[part.start : part.stop], "i8") - first
    if not (places[1:] > places[:-1]).all():
        raise IllegalOutcome(f"numbers of {outcomes.source_id} do not ascend")
    before = rows["fate"][places]
    dead = places[before == Fate.DEAD]
    counts = numpy.bincount(before, minlength=len(Fate)).tolist()
    change = _judge(counts, outcomes, first + int(dead[0]) if len(dead) else None)
    rows["fate"][places] = outcomes.fate
    rows["attempts"][places] = outcomes.attempts[part.start : part.stop]
    rows["at_ms"][places] = at_ms
    rows["ref"][places] = 0 if part.refs is None else part.refs
    return change


def _judge(counts: Sequence[int], outcomes: Outcomes, first_dead: int | None) -> Change:
    """What is changed, from how many events had each fate.

    Only a pending event may have an outcome, only a dead one may be requeued.
    """
    pending, deferred, dead = counts[Fate.PENDING], counts[Fate.DEFERRED], counts[Fate.DEAD]
    allowed = deferred
    if outcomes.fate != Fate.DEFERRED:
        allowed += pending
    if outcomes.fate == Fate.PENDING:
        allowed += dead
    if allowed != sum(counts):
        had = sorted(fate.name for fate in Fate if counts[fate])
        raise IllegalOutcome(f"{outcomes.fate.name} for events of {outcomes.source_id} that are {', '.join(had)}")
    return Change(pending, deferred, dead, first_dead if dead else None)
