"""What a test checks a server by: its store, read in this process, and what its processors wrote down."""

import fcntl
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from storage.check.audit import Audit
from storage.errors import StoreDamaged
from storage.lmdb_store.environment import Store
from storage.read.snapshot import Snapshots
from storage.statuses import PENDING_STATUSES, EventStatus, Totals
from storage.write.recovery import recover
from tests.support.server import Child
from tests.support.waiting import eventually

METRICS_OF_TOTALS = {
    "received": 'tidegate_events_received_total{{source="{}"}}',
    "requeued": 'tidegate_events_requeued_total{{source="{}"}}',
    "deferred": 'tidegate_events_deferred_total{{source="{}"}}',
    "processed": 'tidegate_events_total{{outcome="processed",source="{}"}}',
    "duplicate": 'tidegate_events_total{{outcome="duplicate",source="{}"}}',
    "dropped": 'tidegate_events_total{{outcome="dropped",source="{}"}}',
    "dead": 'tidegate_events_total{{outcome="dead",source="{}"}}',
    "pending": 'tidegate_events_pending{{source="{}"}}',
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the store has it."""

    number: int
    source: str
    id: str
    delivery: str
    status: EventStatus
    attempts: int


@dataclass(frozen=True, slots=True)
class Books:
    """A whole store."""

    events: list[Event]
    totals: Mapping[str, Totals]

    def of(self, source: str) -> list[Event]:
        return [event for event in self.events if event.source == source]

    def statuses(self, source: str, event_id: str) -> list[str]:
        """What became of the events of this id, oldest first."""
        return [event.status.name.lower() for event in self.of(source) if event.id == event_id]

    def deliveries(self) -> Counter[str]:
        """How many events each delivery has."""
        return Counter(event.delivery for event in self.events)

    def processed(self) -> Counter[tuple[str, str]]:
        """How often each id was processed."""
        return Counter((event.source, event.id) for event in self.events if event.status is EventStatus.PROCESSED)

    @property
    def pending(self) -> int:
        return sum(event.status in PENDING_STATUSES for event in self.events)


def read_books(child: Child) -> Books:
    """The store of a server, running or not. Asserts that `verify` has nothing to say against it."""
    try:
        recover(child.store)
    except StoreDamaged as error:
        raise AssertionError(str(error)) from error
    store = Store.open(child.store, mode="read")
    try:
        problems: list[str] = []
        Audit(store, problems.append, lambda database, number: None).run()
        assert not problems, problems
        snapshots = Snapshots(store)
        with snapshots.take() as snapshot:
            totals = snapshot.totals()
        return Books(list(_events(snapshots)), totals)
    finally:
        store.close()


def _events(snapshots: Snapshots) -> Iterator[Event]:
    start = end = 0
    while start == 0 or end > start:
        start = end
        with snapshots.take() as snapshot:
            for block in snapshot.blocks(start):
                for head in snapshot.heads(block.first, block.end):
                    record = snapshot.deliveries(head, bodies=False)
                    owners = [
                        own
                        for own, count in zip(record.delivery_ids(), record.deliveries.counts, strict=True)
                        for _ in range(count)
                    ]
                    for number, event_id, own in zip(
                        range(record.first, record.end), record.event_ids(), owners, strict=True
                    ):
                        row = block.rows[number - block.first]
                        status, attempts = EventStatus(int(row["status"])), int(row["attempts"])
                        yield Event(number, record.source_id, event_id, own, status, attempts)
                end = block.end
        if end == 0:
            return


def calls(child: Child) -> list[list[str]]:
    """The ids in each call of a processor of `processors.py`, in order."""
    return [line["ids"] for line in noted(child, "calls")]


def noted(child: Child, name: str) -> list[dict[str, Any]]:
    """The lines that `processors.note` wrote."""
    path = child.directory / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextmanager
def shut_gate(child: Child) -> Iterator[None]:
    """Within the block, what waits for the gate of `processors.py` hangs."""
    with (child.directory / "gate").open("a") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def pending(child: Child, source: str) -> float:
    return child.metrics()[METRICS_OF_TOTALS["pending"].format(source)]


def _at_one_moment(child: Child) -> tuple[dict[str, float], Mapping[str, Totals]]:
    """The metrics, and the totals as they were before and after: an outcome may reach the disk at any time."""
    found: list[tuple[dict[str, float], Mapping[str, Totals]]] = []

    def is_still() -> bool:
        before, said, after = read_books(child).totals, child.metrics(), read_books(child).totals
        found.append((said, after))
        return before == after

    eventually(is_still)
    return found[-1]


def check_identity(child: Child) -> None:
    """The metrics of a running server say what its store says, and add up."""
    said, totals = _at_one_moment(child)
    assert totals
    for source, counts in totals.items():
        found = {name: said[sample.format(source)] for name, sample in METRICS_OF_TOTALS.items()}
        assert found == {name: getattr(counts, name) for name in METRICS_OF_TOTALS}
        assert counts.balanced
