"""Plans by reading what is rewritten so that events are forgotten: their records, and what `results` has of them.

A record keeps its key, its events, and with them ids, types, times and outcomes. Of a forgotten event the item leaves
the body; headers and the sender's address, which belong to the whole delivery, leave with the first event of it. A body
leaves with the last.

Each attempt that failed has left a detail in `results`, to which nothing refers any more: so all of that is looked
through, once for many events. It comes first: an event that is marked as forgotten has nothing left anywhere.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy
import orjson
import zstandard

from storage.codec.log_record import COMPRESSION_LEVEL, LogHead, body_sizes, encode_log
from storage.codec.pieces import in_pieces
from storage.codec.records import encode_results, key_of, result_numbers
from storage.deliveries import Deliveries, NumberedDeliveries
from storage.history import FORGOTTEN, decode_history, encode_history, without_texts
from storage.read.snapshot import Snapshot, Snapshots
from storage.removal import Place, Value
from storage.rewrite import Rewrite

STEP_BYTES_MAX = 4 * 2**20
"""Of records, in one transaction; one record may go over it."""

Cut = Callable[[Deliveries, int, Collection[int]], bytes]
"""Returns the body of the delivery at this place without the items of the events at these positions: empty if they are
all of it."""


class ForgetPlan:
    """Plans the steps for events that have an outcome. Nothing else may rewrite records meanwhile."""

    def __init__(self, snapshots: Snapshots, numbers: Collection[int], *, cut: Cut, now_ms: int) -> None:
        self._snapshots = snapshots
        self._numbers = numpy.unique(numpy.fromiter(numbers, "u8"))
        self._cut = cut
        self._now_ms = max(1, now_ms)  # 0 would say that nothing was forgotten
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def steps(self) -> Iterator[Rewrite]:
        """Yield what is to be written, one transaction after the other: each must be on disk before the next is asked
        for. No snapshot stays open."""
        for step in chain(self._details(), self._records()):
            if step.puts:
                yield Rewrite(step.deletions, step.puts, step.expired, self._now_ms)

    def _details(self) -> Iterator["_Step"]:
        start: int | None = 1
        while start is not None:
            step = _Step()
            with self._snapshots.take() as snapshot:
                start = self._look_through(snapshot, start, step)
            yield step

    def _look_through(self, snapshot: Snapshot, start: int, step: "_Step") -> int | None:
        """Add the records of `results` from this key on that have something of the events, without it; return the key
        to go on from, None at the end."""
        for key in snapshot.first_numbers("results", start):
            if snapshot.exhausted or step.is_full:
                return key
            numbers = result_numbers(key_of(key), snapshot.results_value(key))
            places = numpy.minimum(self._numbers.searchsorted(numbers), len(self._numbers) - 1)
            mine = numbers[self._numbers[places] == numbers]
            if len(mine):
                details = snapshot.results(key)
                made = details | {number: forgotten_detail(details[number]) for number in mine.tolist()}
                if made != details:
                    step.puts.append(("results", key_of(key), encode_results(key_of(key), made)))
        return None

    def _records(self) -> Iterator["_Step"]:
        numbers = self._numbers
        while len(numbers):
            step = _Step()
            with self._snapshots.take() as snapshot:
                while len(numbers) and not snapshot.exhausted and not step.is_full:
                    head = snapshot.head_of(int(numbers[0]))
                    end = int(numbers[0]) + 1 if head is None else head.end
                    count = int(numbers.searchsorted(end))
                    mine, numbers = numbers[:count], numbers[count:]
                    if head is not None:
                        self._rewrite(snapshot, head, set((mine - head.first).tolist()), step)
            yield step

    def _rewrite(self, snapshot: Snapshot, head: LogHead, positions: Collection[int], step: "_Step") -> None:
        """Add what becomes of a record without the events at these positions."""
        key = key_of(head.first)
        fact_keys, _ = snapshot.stored("facts", head.first)
        body_keys, _ = snapshot.stored("bodies", head.first)
        numbered = snapshot.deliveries(head, bodies=bool(body_keys))
        if not body_keys and head.bodies_bytes:
            sizes = body_sizes(key, snapshot.joined("facts", head.first), self._decompressor, head)
            numbered = _with_sizes(numbered, sizes)
        made = without(numbered, positions, self._cut if body_keys else _as_it_is, self._now_ms)
        facts, bodies = encode_log(made, self._compressor)
        written: list[Value] = [("facts", *piece) for piece in in_pieces(key, facts)]
        if body_keys and bodies is not None:
            written += [("bodies", *piece) for piece in in_pieces(key, bodies)]
        elif body_keys and head.first < snapshot.front("bodies"):
            step.expired[head.source_id] = step.expired.get(head.source_id, 0) + head.count
        places = {(database, piece) for database, piece, _ in written}
        old = chain((("facts", each) for each in fact_keys), (("bodies", each) for each in body_keys))
        step.deletions += [place for place in old if place not in places]
        step.puts += written


class _Step:
    """What one transaction changes."""

    def __init__(self) -> None:
        self.deletions: list[Place] = []
        self.puts: list[Value] = []
        self.expired: dict[str, int] = {}

    @property
    def is_full(self) -> bool:
        return sum(len(value) for _, _, value in self.puts) >= STEP_BYTES_MAX


def without(numbered: NumberedDeliveries, positions: Collection[int], cut: Cut, now_ms: int) -> NumberedDeliveries:
    """Return the deliveries of a record without the events at these positions, which are forgotten now."""
    deliveries = numbered.deliveries
    at_ms = list(deliveries.forgotten_at_ms) or [0] * deliveries.count
    for position in positions:
        at_ms[position] = at_ms[position] or now_ms
    bodies, headers, addresses = list(deliveries.bodies), list(deliveries.headers), list(deliveries.remote_addrs)
    begin = 0
    for place, count in enumerate(deliveries.counts):
        mine = range(begin, begin + count)
        begin += count
        gone = [position for position in mine if at_ms[position]]
        if gone:
            headers[place], addresses[place] = {}, ""
            bodies[place] = cut(deliveries, place, gone)
    made = replace(deliveries, bodies=bodies, headers=headers, remote_addrs=addresses, forgotten_at_ms=at_ms)
    return NumberedDeliveries(numbered.first, numbered.suffix, made)


def forgotten_detail(detail: bytes) -> bytes:
    """Return what stays of a detail or a history: when what happened, and no text of a processor's."""
    try:
        found = orjson.loads(detail)
        if isinstance(found, list):
            return encode_history(without_texts(decode_history(found)))
    except (ValueError, TypeError):
        return b"{}"
    return orjson.dumps({"error": FORGOTTEN}) if isinstance(found, dict) and "error" in found else b"{}"


def _as_it_is(deliveries: Deliveries, place: int, _: Collection[int]) -> bytes:
    return deliveries.bodies[place]


def _with_sizes(numbered: NumberedDeliveries, sizes: Sequence[int]) -> NumberedDeliveries:
    """Return deliveries whose bodies have left, with blanks of their sizes in place of them."""
    return NumberedDeliveries(
        numbered.first, numbered.suffix, replace(numbered.deliveries, bodies=[bytes(size) for size in sizes])
    )
