"""Which bodies leave: the oldest first, up to the front, and below it what was kept and is not needed any more.

A record of which some deliveries hold their bodies is split into records of their own, in place, so that one dead event
keeps no stranger's body.
"""

from collections.abc import Sequence
from itertools import chain, groupby

import numpy
import zstandard

from storage.codec.log_record import COMPRESSION_LEVEL, LogHead, encode_log
from storage.codec.pieces import in_pieces
from storage.codec.records import body_digests_of, damaged, encode_body_digests, key_of
from storage.codec.status_rows import Rows
from storage.deliveries import NumberedDeliveries
from storage.read.snapshot import Block, Snapshot
from storage.removal import BodiesRemoval, Value
from storage.retain.budget import Budget
from storage.retain.policy import Mask, Retention


class BodiesPlan:
    """What leaves in one step."""

    def __init__(self, snapshot: Snapshot, policy: Retention, now_ms: int) -> None:
        self._snapshot = snapshot
        self._policy = policy
        self._now_ms = now_ms
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
        bound = policy.archive_bytes_max
        self._excess = snapshot.bytes_of("bodies") - bound if bound else 0
        """Bytes of bodies over the bound; not above 0 if none are."""
        self._block: Block | None = None
        self.removals: list[BodiesRemoval] = []

    def advance(self, start: int, budget: Budget) -> int:
        """Plan what leaves from the front on; return where the front is then."""
        for block in self._snapshot.blocks(start):
            for head in self._snapshot.heads(max(start, block.first), block.end):
                budget.look()
                rows = block.rows[head.first - block.first : head.end - block.first]
                is_young = self._excess <= 0 and self._policy.young_bodies(rows, self._now_ms).any()
                if is_young or budget.spent:
                    return start
                self._judge(head, self._policy.holds(rows, self._now_ms), budget)
                start = head.end
        return start

    def sweep(self, start: int, front: int, budget: Budget) -> int:
        """Plan what leaves of what was kept before the front, from `start` on; return where to go on: 0 at the end."""
        for first in self._snapshot.first_numbers("bodies", start):
            if first >= front:
                return 0
            if budget.spent:
                return first
            budget.look()
            head = self._snapshot.head_at(first)
            self._judge(head, self._kept(self._rows_of(head)), budget)
        return 0

    def _kept(self, rows: Rows) -> Mask:
        kept = self._policy.holds(rows, self._now_ms)
        return kept if self._excess > 0 else kept | self._policy.young_bodies(rows, self._now_ms)

    def _rows_of(self, head: LogHead) -> Rows:
        """Return the rows of a record. Many may be in one block, which is read once."""
        block = self._block
        if block is None or not block.first <= head.first < block.end:
            block = self._block = self._snapshot.block_of(head.first)
        if block is None:
            raise damaged(b"statuses", key_of(head.first), "there is no such event")
        return block.rows[head.first - block.first : head.end - block.first]

    def _judge(self, head: LogHead, kept: Mask, budget: Budget) -> None:
        """Add what leaves of a record, of which these events hold what they have."""
        keys, size = self._snapshot.stored("bodies", head.first)
        if kept.all() and keys:
            return
        if not keys or not kept.any():
            everything = range(head.first, head.end)
            removal = BodiesRemoval(head.source_id, [everything], [("bodies", key) for key in keys], ())
            self._add(removal, size, budget)
            return
        starts = numpy.asarray(self._snapshot.deliveries(head, bodies=False).firsts()) - head.first
        keeps = numpy.logical_or.reduceat(kept, starts).tolist()
        if not all(keeps):
            removal = self._split(self._snapshot.deliveries(head, bodies=True), keeps, keys)
            kept_bytes = sum(len(value) for database, _, value in removal.puts if database == "bodies")
            self._add(removal, size - kept_bytes, budget)

    def _split(self, numbered: NumberedDeliveries, keeps: Sequence[bool], keys: Sequence[bytes]) -> BodiesRemoval:
        leaving: list[range] = []
        puts: list[Value] = []
        at = 0
        for stays, run in groupby(keeps):
            count = len(list(run))
            part = numbered.part(at, at + count)
            at += count
            facts, bodies = encode_log(part, self._compressor)
            puts += [("facts", *piece) for piece in in_pieces(key_of(part.first), facts)]
            if part.has_body_hashes:
                key = key_of(part.first)
                puts.append(("body_digests", key, encode_body_digests(key, body_digests_of(part))))
            if stays and bodies is not None:
                puts += [("bodies", *piece) for piece in in_pieces(key_of(part.first), bodies)]
            if not stays:
                leaving.append(range(part.first, part.end))
        stored, _ = self._snapshot.stored("facts", numbered.first)
        old = chain((("facts", key) for key in stored), (("bodies", key) for key in keys))
        written = {(database, key) for database, key, _ in puts}
        deletions = [place for place in old if place not in written]
        return BodiesRemoval(numbered.source_id, leaving, deletions, puts)

    def _add(self, removal: BodiesRemoval, size: int, budget: Budget) -> None:
        self._excess -= size
        budget.spend(len(removal.deletions) + len(removal.puts), sum(len(value) for _, _, value in removal.puts))
        self.removals.append(removal)
