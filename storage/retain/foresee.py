"""What would leave now, without taking anything out: for `check` and `trust-clock --dry-run`."""

from collections.abc import Mapping
from dataclasses import dataclass

from storage.codec.log_record import LogHead
from storage.codec.status_rows import Rows
from storage.lmdb_store.environment import Store
from storage.read.snapshot import Snapshot, Snapshots
from storage.retain.horizons import Horizons, horizon_of_others
from storage.retain.policy import Retention


@dataclass(slots=True)
class Foreseen:
    """What would leave: events by their bodies, what these take as stored, and events by their receipts.

    About: of records of which a part is kept, the part that leaves is taken to have its share of the bytes.
    """

    bodies: int = 0
    body_bytes: int = 0
    receipts: int = 0


def foresee(store: Store, policy: Retention, now_ms: int) -> Foreseen:
    """Return what would leave at this time, by the store's. Reads the statuses of all events, and heads of records."""
    snapshots = Snapshots(store)
    horizons = Horizons(snapshots).find(horizon_of_others(now_ms))
    walk: _Walk | None = None
    start: int | None = 0
    while start is not None:
        at, start = start, None
        with snapshots.take() as snapshot:
            walk = walk or _Walk(policy, now_ms, horizons, snapshot)
            for block in snapshot.blocks(at):
                for head in snapshot.heads(block.first, block.end):
                    walk.look(snapshot, head, block.rows[head.first - block.first : head.end - block.first])
                if snapshot.exhausted:
                    start = block.end
                    break
    return Foreseen() if walk is None else walk.found


class _Walk:
    """Goes through all records in order."""

    def __init__(self, policy: Retention, now_ms: int, horizons: Mapping[str, int], snapshot: Snapshot) -> None:
        self._policy = policy
        self._now_ms = now_ms
        self._horizons = horizons
        bound = policy.archive_bytes_max
        self._excess = snapshot.bytes_of("bodies") - bound if bound else 0
        self._bodies_front, self._receipts_front = snapshot.front("bodies"), snapshot.front("receipts")
        self._bodies_stop = not (policy.archive_ms or bound)
        self._receipts_stop = not policy.receipt_ms
        self.found = Foreseen()

    def look(self, snapshot: Snapshot, head: LogHead, rows: Rows) -> None:
        """Count what leaves of a record."""
        held = self._policy.holds(rows, self._now_ms)
        young = self._policy.young_bodies(rows, self._now_ms)
        is_pressed = self._excess > 0
        if head.first >= self._bodies_front and young.any() and not is_pressed:
            self._bodies_stop = True
        keys, size = snapshot.stored("bodies", head.first)
        leaving = 0
        if keys and not self._bodies_stop:
            leaving = int((~(held if is_pressed else held | young)).sum())
            share = size * leaving // len(rows)
            self._excess -= share
            self.found.bodies += leaving
            self.found.body_bytes += share
        if not keys or leaving == len(rows):
            self._look_at_receipt(head, rows)

    def _look_at_receipt(self, head: LogHead, rows: Rows) -> None:
        policy = self._policy
        young = policy.young_receipts(rows, self._now_ms).any()
        if head.first >= self._receipts_front and young:
            self._receipts_stop = True
        horizon = self._horizons.get(head.source_id, horizon_of_others(self._now_ms))
        stays = young or policy.holds(rows, self._now_ms).any() or policy.needed(rows, horizon).any()
        if not (self._receipts_stop or stays):
            self.found.receipts += len(rows)
