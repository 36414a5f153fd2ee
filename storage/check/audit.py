"""Does the store say what was written? Every record, every reference, every count, in short snapshots.

Works while a writer goes on: what is compared is from one snapshot, or is a count, which must then lie within what the
totals allow that were read before and after. On a store at rest both are the same, and the counts must be exact.

A damaged record is a problem that names its place, and the walk goes on after it.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy

from storage.check.index import IndexAudit, check_rows
from storage.check.recount import OnProblem, Recount
from storage.codec.log_record import LogHead
from storage.codec.records import DIGEST_BYTES, body_digests_of, digests_of
from storage.codec.status_rows import is_pending
from storage.errors import StoreError
from storage.lmdb_store.environment import Store
from storage.read.lookup import history
from storage.read.snapshot import Block, Snapshot, Snapshots
from storage.statuses import EventStatus, Totals

GAPLESS: tuple[Literal["facts", "bodies", "ids", "body_digests"], ...] = ("facts", "bodies", "ids", "body_digests")
"""Databases that have nothing where there is no block."""


class Audit:
    """One walk through a store. `problem` gets each problem as a sentence, `reading` each place before it is read."""

    def __init__(self, store: Store, problem: OnProblem, reading: Callable[[str, int], None]) -> None:
        self._snapshots = Snapshots(store)
        self._problem = problem
        self._reading = reading
        self._index = IndexAudit(self._snapshots, problem)
        self.recount = Recount()

    def run(self) -> None:
        before = self._totals()
        self._walk_blocks()
        with self._reported():
            self._index.end()
        self._walk_results()
        check_rows(self._snapshots, self._reading, self._problem)
        after = self._totals()
        self.recount.compare(before, after, self._problem)

    def _totals(self) -> dict[str, Totals]:
        self._reading("meta", 0)
        totals: dict[str, Totals] = {}
        with self._reported(), self._snapshots.take() as snapshot:
            totals = snapshot.totals()
        for source_id, found in totals.items():
            if not found.balanced:
                self._problem(f"meta, totals of {source_id}: the accounting identity does not hold: {found}")
        return totals

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            self.recount.complete = False
            self._problem(str(error))

    # Blocks.

    def _walk_blocks(self) -> None:
        start: int | None = 0
        end: int | None = None
        while start is not None:
            at, start = start, None
            with self._reported(), self._snapshots.take() as snapshot:
                totals = snapshot.totals()
                end = self._end_now(snapshot, end)
                for first in snapshot.first_numbers("statuses", at):
                    if end is not None and not end <= first <= max(end, snapshot.front("receipts")):
                        self._problem(f"statuses, key {first}: the block before ends with {end - 1}")
                    self._check_gap(snapshot, end, first)
                    end = self._check_block(snapshot, first, totals)
                    if snapshot.exhausted:
                        start = first + 1 if end is None else end
                        break
                else:
                    self._check_gap(snapshot, end, sys.maxsize)

    def _end_now(self, snapshot: Snapshot, end: int | None) -> int | None:
        """Return where the block that ended there, as the last one checked, ends now: a writer may have added to it."""
        with self._reported():
            block = None if end is None else snapshot.block_of(end)
            return end if block is None or block.first == end else block.end
        return None

    def _check_block(self, snapshot: Snapshot, first: int, totals: dict[str, Totals]) -> int | None:
        """Check a block; return the number after it, None if it cannot be read."""
        self._reading("statuses", first)
        with self._reported():
            block = snapshot.block_at(first)
            self.recount.blocks += 1
            digests = b""
            with self._reported():
                digests = snapshot.digests(block)
                self._index.add_block(first, digests)
            self._check_log(snapshot, block, digests, totals)
            with self._reported():
                self._check_references(snapshot, block, digests)
            return block.end
        return None

    def _check_log(self, snapshot: Snapshot, block: Block, digests: bytes, totals: dict[str, Totals]) -> None:
        """Check the log records of a block: without a gap, and the ids in them are those of the digests."""
        expected = block.first
        known = set()
        for first in snapshot.first_numbers("facts", block.first):
            if first >= block.end:
                break
            if first != expected:
                self._problem(f"facts, key {first}: expected {expected}")
            expected = first
            known.add(first)
            with self._reported():
                head = snapshot.head_at(first)
                expected = head.end
                self._count(snapshot, block, head, totals)
                snapshot.check_pieces("facts", first)
                self._check_deliveries(snapshot, block, head, digests)
        if expected != block.end:
            self._problem(f"facts: the events {expected} to {block.end - 1} are missing")
        for first in snapshot.first_numbers("bodies", block.first):
            if first >= block.end:
                break
            if first not in known:
                self._problem(f"bodies, key {first}: there are no facts for it")
            with self._reported():
                snapshot.check_pieces("bodies", first)
        for first in snapshot.first_numbers("body_digests", block.first):
            if first >= block.end:
                break
            if first not in known:
                self._problem(f"body_digests, key {first}: there are no facts for it")

    def _count(self, snapshot: Snapshot, block: Block, head: LogHead, totals: dict[str, Totals]) -> None:
        found = block.rows["status"][head.first - block.first : head.end - block.first]
        statuses = self.recount.statuses.setdefault(head.source_id, [0] * len(EventStatus))
        for status, count in enumerate(numpy.bincount(found, minlength=len(EventStatus)).tolist()):
            statuses[status] += count
        self.recount.events += head.count
        if head.first < snapshot.front("bodies") and not snapshot.has_bodies(head.first):
            _add(self.recount.expired, head.source_id, head.count)
            _add(self.recount.unlisted, head.source_id, int((found == EventStatus.DEAD).sum()))
        waiting = numpy.flatnonzero(is_pending(found))
        if len(waiting) and snapshot.bodies_left(head):
            self._problem(f"bodies, key {head.first}: the body of a pending event is missing")
        oldest = totals.get(head.source_id, Totals()).oldest
        if len(waiting) and head.first + int(waiting[0]) < oldest:
            number = head.first + int(waiting[0])
            self._problem(
                f"meta, totals of {head.source_id}: the event {number} is pending, but {oldest} is the oldest"
            )

    def _check_deliveries(self, snapshot: Snapshot, block: Block, head: LogHead, digests: bytes) -> None:
        numbered = snapshot.deliveries(head, bodies=True)
        self._index.add_record(numbered)
        self.recount.deliveries += len(numbered.deliveries.bodies)
        if snapshot.body_digests(head) != body_digests_of(numbered):
            self._problem(f"body_digests, key {head.first}: they are not those of the bodies as they were received")
        _add(self.recount.replays, head.source_id, len(numbered.deliveries.replay_of))
        found = digests_of(numbered)
        at = (numbered.first - block.first) * DIGEST_BYTES
        if not digests or digests[at : at + len(found)] == found:
            return
        counts = numbered.deliveries.counts
        for identity, first, count in zip(numbered.delivery_ids(), numbered.firsts(), counts, strict=True):
            own = slice((first - numbered.first) * DIGEST_BYTES, (first - numbered.first + count) * DIGEST_BYTES)
            if digests[at + own.start : at + own.stop] != found[own]:
                self._problem(f"ids, key {block.first}: the digests of delivery {identity} are not those of its ids")

    def _check_gap(self, snapshot: Snapshot, end: int | None, until: int) -> None:
        """Check that there is nothing between a block and the next one, or behind the last."""
        if end is None or end >= until:
            return
        for database in GAPLESS:
            number = next(snapshot.first_numbers(database, end), until)
            if number < until:
                self._problem(f"{database}, key {number}: there is no block for it")

    # References.

    def _check_references(self, snapshot: Snapshot, block: Block, digests: bytes) -> None:
        for place in numpy.flatnonzero(block.rows["ref"]).tolist():
            number, ref = block.first + place, int(block.rows["ref"][place])
            status = EventStatus(int(block.rows["status"][place]))
            if status == EventStatus.DUPLICATE:
                digest = digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
                self._check_original(snapshot, number, number - ref, digest)
            else:
                self._check_detail(snapshot, number, ref, status)
        for place in numpy.flatnonzero(block.rows["history"]).tolist():
            with self._reported():
                history(snapshot, int(block.rows["history"][place]), block.first + place)

    def _check_original(self, snapshot: Snapshot, number: int, original: int, digest: bytes) -> None:
        block = snapshot.block_of(original) if original > 0 else None
        if block is None and 0 < original < snapshot.front("receipts"):
            return
        if block is None or block.rows["status"][original - block.first] != EventStatus.PROCESSED:
            self._problem(f"statuses: the event {number} is a duplicate of {original}, which is not processed")
            return
        at = (original - block.first) * DIGEST_BYTES
        if not digest or snapshot.digests(block)[at : at + DIGEST_BYTES] == digest:
            return
        body = snapshot.body_digest(number)
        if not body or snapshot.body_digest(original) != body:
            self._problem(f"statuses: the event {number} is a duplicate of {original}, which has another id")

    def _check_detail(self, snapshot: Snapshot, number: int, ref: int, status: EventStatus) -> None:
        detail = snapshot.detail(ref, number) if ref > 0 and snapshot.has_results(ref) else None
        if detail is None and status is EventStatus.PROCESSED:
            head = snapshot.head_of(number)
            is_forgotten = head is not None and not head.bodies_bytes and number < snapshot.front("bodies")
            if head is not None and (is_forgotten or snapshot.bodies_left(head)):
                return
        try:
            json.loads(detail if detail is not None else b"")  # as look-ups do
        except ValueError:
            self._problem(f"results, key {ref}: the detail of the event {number} is missing or not JSON")

    def _walk_results(self) -> None:
        start: int | None = 0
        while start is not None:
            at, start = start, None
            with self._reported(), self._snapshots.take() as snapshot:
                for number in snapshot.first_numbers("results", at):
                    self._reading("results", number)
                    self.recount.results += 1
                    with self._reported():
                        snapshot.results(number)
                    if snapshot.exhausted:
                        start = number + 1
                        break


def _add(counts: dict[str, int], source_id: str, more: int) -> None:
    counts[source_id] = counts.get(source_id, 0) + more
