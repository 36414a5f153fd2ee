"""Plans steps of retention by reading, beside a server that writes: on a thread of its own.

Three things leave, each after a front that moves forward: bodies, receipts, and the details of outcomes. Behind each
front a round looks again at what was kept there, a bounded stretch in each pass: what is kept is what is still there.
How far the rounds are is in memory alone: after a start they begin anew. So is the front of details, since nobody but
retention asks for it.
"""

from storage.lmdb_store.environment import Store
from storage.read.snapshot import Snapshots
from storage.removal import Removal
from storage.retain.bodies import BodiesPlan
from storage.retain.budget import CALLS_MAX, ROUND_LOOKS_MAX, Budget
from storage.retain.horizons import Horizons, horizon_of_others
from storage.retain.policy import Retention
from storage.retain.receipts import ReceiptsPlan
from storage.retain.results import ResultsPlan


class Round:
    """The look behind a front: `at` is where it goes on."""

    def __init__(self) -> None:
        self.at = 0
        self._is_full = False

    def is_due(self, *, new_pass: bool) -> bool:
        """Whether this step looks: the first one of a pass, and those after one that found all it may take out."""
        return new_pass or self._is_full

    def ended(self, at: int, budget: Budget) -> None:
        """Note where the look ended."""
        self.at, self._is_full = at, budget.is_full

    @property
    def more(self) -> bool:
        return self._is_full


class Planner:
    """Of one store. For one thread at a time. A step must be committed, or given up, before the next is planned."""

    def __init__(self, store: Store, calls_max: int = CALLS_MAX) -> None:
        self._snapshots = Snapshots(store)
        self._horizons = Horizons(self._snapshots)
        self._calls_max = calls_max
        self._bodies, self._receipts, self._results = Round(), Round(), Round()
        self._results_front = 0

    def plan(
        self,
        policy: Retention,
        now_ms: int,
        *,
        new_pass: bool = True,
        smallest: bool = False,
        on_its_way_since_ms: int | None = None,
    ) -> Removal:
        """Return the next step, which may be empty; the last of a pass has no `more`.

        `new_pass`: this is the first one. `smallest`: as little as possible, since there is no room.
        `on_its_way_since_ms`: when the first was received of what is acknowledged and not in the store.
        """
        calls_max = 1 if smallest else self._calls_max
        bodies = self._plan_bodies(policy, now_ms, calls_max, new_pass=new_pass)
        latest = horizon_of_others(now_ms, on_its_way_since_ms)
        receipts = self._plan_receipts(policy, now_ms, latest, calls_max, new_pass=new_pass)
        results, results_moved = self._plan_results(calls_max, new_pass=new_pass)
        rounds = (self._bodies, self._receipts, self._results)
        moved = bodies.bodies_front or receipts.receipts_front or results_moved
        return Removal(
            bodies=bodies.bodies,
            receipts=receipts.receipts,
            results=results,
            bodies_front=bodies.bodies_front,
            receipts_front=receipts.receipts_front,
            more=bool(moved) or any(each.more for each in rounds),
        )

    def _plan_bodies(self, policy: Retention, now_ms: int, calls_max: int, *, new_pass: bool) -> Removal:
        if not (policy.archive_ms or policy.archive_bytes_max):
            return Removal()
        with self._snapshots.take() as snapshot:
            plan = BodiesPlan(snapshot, policy, now_ms)
            front = snapshot.front("bodies")
            if self._bodies.is_due(new_pass=new_pass):
                budget = Budget(calls_max, ROUND_LOOKS_MAX)
                self._bodies.ended(plan.sweep(self._bodies.at, front, budget), budget)
            found = plan.advance(front, Budget(calls_max))
        return Removal(bodies=plan.removals, bodies_front=found if found > front else 0)

    def _plan_receipts(self, policy: Retention, now_ms: int, latest: int, calls_max: int, *, new_pass: bool) -> Removal:
        if not policy.receipt_ms:
            return Removal()
        horizons = self._horizons.find(latest)
        with self._snapshots.take() as snapshot:
            front = snapshot.front("receipts")
            ahead = ReceiptsPlan(snapshot, policy, now_ms, horizons, latest)
            found = ahead.advance(front, snapshot.front("bodies"), Budget(calls_max))
        removals = ahead.removals
        if self._receipts.is_due(new_pass=new_pass):
            until = min([front, *(each.first for each in removals)])  # a block is changed once in a step
            budget = Budget(calls_max, ROUND_LOOKS_MAX)
            with self._snapshots.take() as snapshot:
                behind = ReceiptsPlan(snapshot, policy, now_ms, horizons, latest)
                self._receipts.ended(behind.sweep(self._receipts.at, until, budget), budget)
            removals = behind.removals + removals
        return Removal(receipts=removals, receipts_front=found if found > front else 0)

    def _plan_results(self, calls_max: int, *, new_pass: bool) -> tuple[list[tuple[bytes, bytes | None]], bool]:
        """Return what leaves, and whether their front has moved."""
        with self._snapshots.take() as snapshot:
            plan, before = ResultsPlan(snapshot), self._results_front
            if self._results.is_due(new_pass=new_pass):
                budget = Budget(calls_max, ROUND_LOOKS_MAX)
                self._results.ended(plan.sweep(self._results.at, before, budget), budget)
            self._results_front = plan.advance(before, snapshot.front("bodies"), Budget(calls_max))
        return plan.removals, self._results_front > before
