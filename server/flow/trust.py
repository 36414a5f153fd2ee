"""What it would mean to believe the wall clock, where time has been withheld."""

from storage.frozen import frozen
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.retain.foresee import foresee
from storage.retain.policy import Retention
from storage.store_time import StoreTime


@frozen
class Trusted:
    """By how much the store's time goes on, how many ids are no longer known then to events that come, and what leaves
    by retention that would not leave now."""

    withheld_ms: int
    ids: int
    bodies: int
    receipts: int

    def report(self, *, dry_run: bool) -> dict[str, object]:
        """Return it as the command and the admin side show it."""
        return {
            "dry_run": dry_run,
            "withheld_seconds": self.withheld_ms / 1000,
            "ids_expiring": self.ids,
            "bodies_expiring": self.bodies,
            "receipts_expiring": self.receipts,
        }


def foreseen(store: Store, now: StoreTime, policy: Retention) -> Trusted:
    """Return what comes of it. Reads the statuses of all events, unless no time is withheld."""
    withheld_ms = now.withheld_ms
    if not withheld_ms:
        return Trusted(0, 0, 0, 0)
    after_ms = max(0, now.store_ms - policy.window_ms)
    until_ms = max(0, now.store_ms + withheld_ms - policy.window_ms)
    ids = Reader(store).count_processed(after_ms, until_ms) if until_ms > after_ms else 0
    before, after = foresee(store, policy, now.store_ms), foresee(store, policy, now.store_ms + withheld_ms)
    return Trusted(withheld_ms, ids, after.bodies - before.bodies, after.receipts - before.receipts)
