"""Which details leave: a processor's result with the body of its event, errors and histories with the receipt.

A record of `results` has details of events that ended together, in the order of their ends and not of their numbers. It
is looked at once all its events are before the front of bodies. Details that stay are written anew under the same key,
so that nothing that refers to them changes. What an event was given instead, after it was requeued, leaves at once. The
last record stays: the next key follows from it.
"""

from collections.abc import Iterator, Mapping

import numpy

from storage.codec.records import encode_results, key_of
from storage.read.lookup import Numbers
from storage.read.snapshot import Block, Snapshot
from storage.retain.budget import Budget
from storage.statuses import EventStatus

DETAILS_A_LOOK = 16
"""So many details count as one record that is looked at."""


class ResultsPlan:
    """What leaves in one step."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._last = snapshot.last_number("results") or 0
        self._block: Block | None = None
        self._record: tuple[range, bool] = range(0), False
        """The numbers in a record of the log, and whether it has its bodies: many events of one follow one another."""
        self.removals: list[tuple[bytes, bytes | None]] = []

    def advance(self, start: int, bodies_front: int, budget: Budget) -> int:
        """Plan what leaves of the records from this key on; return the first that has details from the front on."""
        for key in self._snapshot.first_numbers("results", start):
            details = self._snapshot.results(key)
            if key >= self._last or budget.spent or max(details) >= bodies_front:
                return key
            self._judge(key, details, budget)
        return start

    def sweep(self, start: int, front: int, budget: Budget) -> int:
        """Plan what leaves of what was kept before `front`, from `start` on; return where to go on: 0 at the end."""
        for key in self._snapshot.first_numbers("results", start):
            if key >= front:
                return 0
            if budget.spent:
                return key
            self._judge(key, self._snapshot.results(key), budget)
        return 0

    def _judge(self, key: int, details: Mapping[int, bytes], budget: Budget) -> None:
        budget.look(1 + len(details) // DETAILS_A_LOOK)
        stay = {number: details[number] for number in self._staying(key, numpy.asarray(sorted(details)))}
        if len(stay) == len(details):
            return
        value = encode_results(key_of(key), stay) if stay else None
        budget.spend(1, len(value or b""))
        self.removals.append((key_of(key), value))

    def _staying(self, key: int, numbers: Numbers) -> Iterator[int]:
        """Yield those of these events, whose numbers ascend, whose details in the record with this key stay."""
        while len(numbers) and (block := self._block_from(int(numbers[0]))) is not None:
            low, high = numbers.searchsorted([block.first, block.end]).tolist()
            own, numbers = numbers[low:high], numbers[high:]
            rows = block.rows[own - block.first]
            remember = rows["history"] == key
            refer = (rows["ref"] == key) & (rows["status"] != EventStatus.DUPLICATE)
            leave = refer & ~remember & (rows["status"] == EventStatus.PROCESSED)
            of_one = refer | remember
            for number, may_leave in zip(own[of_one].tolist(), leave[of_one].tolist(), strict=True):
                if not may_leave or self._has_body(number):
                    yield number

    def _block_from(self, number: int) -> Block | None:
        """Return the block that holds the event, else the first one behind it."""
        block = self._block
        if block is None or not block.first <= number < block.end:
            block = self._block = next(self._snapshot.blocks(number), None)
        return block

    def _has_body(self, number: int) -> bool:
        if number not in self._record[0]:
            head = self._snapshot.head_of(number)
            if head is None:
                return False
            self._record = range(head.first, head.end), self._snapshot.has_bodies(head.first)
        return self._record[1]
