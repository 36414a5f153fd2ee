"""One group of the committer: what goes into one transaction, and what follows once that is on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Literal

from server.flow.batch import Batch, PendingAppend
from server.flow.source_state import Committed, SourceState
from storage.index_step import IndexStep
from storage.model import Append, Group, StatusChange, Written
from storage.removal import Removal
from storage.rewrite import Erasure
from storage.statuses import Totals

OnDisk = Callable[[], None]
Counted = Callable[[Mapping[str, Totals]], None]
"""Gets the new totals of the sources that a group touched."""
PendingChange = tuple[SourceState, StatusChange, OnDisk]
StepKind = Literal["removal", "index", "replay", "erasure"]


@dataclass(slots=True)
class GroupSteps:
    """What goes with a group, at most one of each kind, and is given up if that fails."""

    removal: tuple[Removal, Counted] | None = None
    index: IndexStep | None = None
    replay: tuple[str, bytes | None] | None = None
    """Id and record, None to remove it."""
    erasure: tuple[Erasure, Counted] | None = None

    def waits(self, kind: StepKind) -> bool:
        """Return whether there is one of this kind."""
        return getattr(self, kind) is not None

    @property
    def any_waits(self) -> bool:
        return any(getattr(self, each.name) is not None for each in fields(self))

    def end(self, taken: "GroupSteps") -> None:
        """Forget what went with a group, whether that succeeded or not."""
        for each in fields(self):
            if getattr(taken, each.name) is not None:
                setattr(self, each.name, None)


@dataclass(frozen=True, slots=True)
class PendingGroup:
    """What the committer has taken for one transaction."""

    batches: list[Batch]
    changes: list[PendingChange]
    steps: GroupSteps

    def group(self) -> Group:
        """Return it as the storage's writer takes it."""
        steps = self.steps
        appends = [append for batch in self.batches for append in batch.appends]
        touched = {waiting.state for batch in self.batches for waiting in batch.waiting}
        touched |= {state for state, _, _ in self.changes}
        return Group(
            appends,
            [change for _, change, _ in self.changes],
            {state.id: bound for state in touched if (bound := state.oldest_bound()) is not None},
            removal=None if steps.removal is None else steps.removal[0],
            index=steps.index,
            replays=self._replays(),
            erasure=None if steps.erasure is None else steps.erasure[0],
        )

    def _replays(self) -> dict[str, bytes | None]:
        """Return the records of replays: how far what is appended brings them, and one that is written for itself."""
        found = [each.replay for batch in self.batches for each in batch.waiting if each.replay is not None]
        return dict([*found, *([] if self.steps.replay is None else [self.steps.replay])])

    def settle(self, group: Group, written: Written) -> None:
        """Take the new totals over, put the deliveries into their queues, and tell who waits; call once it is there."""
        for state, _, _ in self.changes:
            state.totals = written.totals[state.id]
        for step in (self.steps.removal, self.steps.erasure):
            if step is not None:
                step[1](written.totals)
        waiting = [each for batch in self.batches for each in batch.waiting]
        digests = zip(written.digests, written.body_digests, strict=True)
        entries = zip(waiting, group.appends, digests, strict=True)
        for state, run in groupby(entries, key=lambda each: each[0].state):
            state.totals = written.totals[state.id]
            _into_queue(state, list(run))
        for batch in self.batches:
            if not batch.is_answered:
                batch.answer()
        for _, _, on_disk in self.changes:
            on_disk()


def _into_queue(state: SourceState, run: list[tuple[PendingAppend, Append, tuple[bytes, bytes]]]) -> None:
    """Put deliveries of one source that are in the store into its queue."""
    state.appended(
        [
            Committed(append.numbered, append.admitted, waiting.pending, packed, append.store_ms, bodies)
            for waiting, append, (packed, bodies) in run
        ]
    )
    for waiting, append, _ in run:
        if waiting.admission.over_limit:
            state.went_over(waiting.admission.over_limit)
        state.counts.rejected += sum(map(len, append.numbered.deliveries.rejected))
