"""Which receipts leave, with ids, statuses and facts: a record of the log at a time, up to the front and behind it.

A record stays whole if any of its events holds what it has, if a pending event of its source may need one of its ids,
or if its bodies are there. The last block of the store stays: the writer has it in memory, and the next number follows
from it.
"""

from collections.abc import Mapping, Sequence

from storage.codec.log_record import LogHead
from storage.codec.records import key_of
from storage.codec.status_rows import Rows
from storage.read.snapshot import Block, Snapshot
from storage.removal import Place, ReceiptsRemoval
from storage.retain.budget import Budget
from storage.retain.policy import Retention


class ReceiptsPlan:
    """What leaves in one step. `horizons`: by source, when its oldest pending event was received; `latest`: that of
    the others."""

    def __init__(
        self, snapshot: Snapshot, policy: Retention, now_ms: int, horizons: Mapping[str, int], latest: int
    ) -> None:
        self._snapshot = snapshot
        self._policy = policy
        self._now_ms = now_ms
        self._horizons = horizons
        self._latest = latest
        self._last = snapshot.last_number("ids") or 0
        """The first number of the last block."""
        self.removals: list[ReceiptsRemoval] = []

    def advance(self, start: int, bodies_front: int, budget: Budget) -> int:
        """Plan what leaves from the front on; return where the front is then."""
        for block in self._snapshot.blocks(start):
            if block.first >= self._last:
                break
            passed = _Passed(block, list(self._snapshot.heads(block.first, block.end)))
            for head in passed.heads:
                if head.end <= start:
                    continue
                if head.end > bodies_front or budget.spent or self._stops(block, head):
                    break
                start = head.end
                self._judge(passed, head, budget)
            self._add(passed, budget)
            if start < block.end:
                break
        return start

    def sweep(self, start: int, front: int, budget: Budget) -> int:
        """Plan what leaves of what was kept before the front, from `start` on; return where to go on: 0 at the end."""
        for block in self._snapshot.blocks(start):
            if block.first >= min(front, self._last):
                return 0
            if budget.spent:
                return block.first
            passed = _Passed(block, list(self._snapshot.heads(block.first, block.end)))
            for head in passed.heads:
                if head.end <= front:
                    self._judge(passed, head, budget)
            self._add(passed, budget)
            start = block.end
        return start if self._snapshot.exhausted else 0

    def _stops(self, block: Block, head: LogHead) -> bool:
        """Return whether the front stops here: something is to stay for a time alone."""
        rows = _rows(block, head)
        young = self._policy.young_receipts(rows, self._now_ms) & ~self._policy.holds(rows, self._now_ms)
        return bool(young.any()) and not self._snapshot.has_bodies(head.first)

    def _judge(self, passed: "_Passed", head: LogHead, budget: Budget) -> None:
        budget.look()
        if not self._stays(_rows(passed.block, head), head):
            keys, _ = self._snapshot.stored("facts", head.first)
            passed.leaving.append(head)
            passed.deletions += [("facts", key) for key in keys]
            if self._snapshot.body_digests(head):
                passed.deletions.append(("body_digests", key_of(head.first)))
            budget.spend(len(keys))

    def _stays(self, rows: Rows, head: LogHead) -> bool:
        policy = self._policy
        horizon = self._horizons.get(head.source_id, self._latest)
        return bool(
            policy.holds(rows, self._now_ms).any()
            or policy.young_receipts(rows, self._now_ms).any()
            or policy.needed(rows, horizon).any()
            or self._snapshot.has_bodies(head.first)
        )

    def _add(self, passed: "_Passed", budget: Budget) -> None:
        if passed.leaving:
            kept = passed.kept()
            budget.spend(2 * len(kept) + 2)
            places = [(head.source_id, range(head.first, head.end)) for head in passed.leaving]
            self.removals.append(ReceiptsRemoval(passed.block.first, places, kept, passed.deletions))


class _Passed:
    """A block with its records, and those that leave."""

    def __init__(self, block: Block, heads: Sequence[LogHead]) -> None:
        self.block = block
        self.heads = heads
        self.leaving: list[LogHead] = []
        self.deletions: list[Place] = []

    def kept(self) -> list[range]:
        """Return the numbers of the others; those of records that follow one another are one range."""
        gone = {head.first for head in self.leaving}
        found: list[range] = []
        for head in self.heads:
            if head.first in gone:
                continue
            start = found.pop().start if found and found[-1].stop == head.first else head.first
            found.append(range(start, head.end))
        return found


def _rows(block: Block, head: LogHead) -> Rows:
    return block.rows[head.first - block.first : head.end - block.first]
