"""What became of a block of events: rows for computing, run-length bytes for the disk.

A row holds a fate, the attempts, when the outcome was recorded, and a reference: for a duplicate the distance to the
event that was processed (number - original), so that a batch sent again stays one run; otherwise the key of the
`results` record that holds the event's detail, 0 where there is none.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from storage.errors import IllegalOutcome
from storage.model import PENDING_FATES, Append, Fate, Outcomes
from storage.records import damaged, seal, unseal

Rows = NDArray[Any]
ROW = numpy.dtype([("fate", "<u4"), ("attempts", "<u4"), ("at_ms", "<u8"), ("ref", "<i8")])
_COUNT = struct.Struct("<I")
_WORDS = ROW.itemsize // 8


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


def encode_fates(key: bytes, rows: Rows) -> bytes:
    words = rows.view("<u8").reshape(-1, _WORDS)
    differ = words[1:] != words[:-1]
    cuts = numpy.flatnonzero(differ[:, 0] | differ[:, 1] | differ[:, 2]) + 1
    starts = numpy.concatenate(([0], cuts))
    counts = (numpy.concatenate((cuts, [len(rows)])) - starts).astype("<u4")
    return seal(b"fates", key, _COUNT.pack(len(counts)) + counts.tobytes() + rows[starts].tobytes())


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


@dataclass(frozen=True, slots=True)
class Part:
    """The outcomes `start` .. `stop - 1` of some, which are all in one block."""

    outcomes: Outcomes
    start: int
    stop: int
    refs: Rows | None
    """For each of them what its row refers to; None: nothing."""


@dataclass(frozen=True, slots=True)
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
    places = numpy.asarray(outcomes.numbers[part.start : part.stop], "i8") - first
    if len(places) > 1 and not (places[1:] > places[:-1]).all():
        raise IllegalOutcome(f"numbers of {outcomes.source_id} do not ascend")
    change = _judge(rows["fate"][places], places, first, outcomes)
    rows["fate"][places] = outcomes.fate
    rows["attempts"][places] = outcomes.attempts[part.start : part.stop]
    rows["at_ms"][places] = 0 if outcomes.fate in PENDING_FATES else outcomes.at_ms
    rows["ref"][places] = 0 if part.refs is None else part.refs
    return change


def _judge(before: NDArray[numpy.uint32], places: NDArray[numpy.int64], first: int, outcomes: Outcomes) -> Change:
    """What is changed by fate; only a pending event may have an outcome, only a dead one may be requeued."""
    counts = numpy.bincount(before, minlength=len(Fate)).tolist()
    pending, deferred, dead = counts[Fate.PENDING], counts[Fate.DEFERRED], counts[Fate.DEAD]
    allowed = deferred
    if outcomes.fate != Fate.DEFERRED:
        allowed += pending
    if outcomes.fate == Fate.PENDING:
        allowed += dead
    if allowed != len(before):
        had = sorted({Fate(fate).name for fate in before.tolist()})
        raise IllegalOutcome(f"{outcomes.fate.name} for events of {outcomes.source_id} that are {', '.join(had)}")
    first_dead = first + int(places[before == Fate.DEAD][0]) if dead else None
    return Change(pending, deferred, dead, first_dead)
