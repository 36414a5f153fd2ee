"""What a test judges a server by: its answers, what its commands print, its metrics, what its processors wrote down.

The product's own readers are not asked: a mistake in them would judge itself.
"""

import fcntl
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.server import Child
from tests.support.waiting import eventually

Totals = Mapping[str, Mapping[str, int]]
"""The counts of each source."""

METRICS_OF_TOTALS = {
    "received": 'tidegate_events_received_total{{source="{}"}}',
    "replayed": 'tidegate_events_replayed_total{{source="{}"}}',
    "discarded": 'tidegate_events_discarded_total{{source="{}"}}',
    "requeued": 'tidegate_events_requeued_total{{source="{}"}}',
    "processed": 'tidegate_events_total{{outcome="processed",source="{}"}}',
    "duplicate": 'tidegate_events_total{{outcome="duplicate",source="{}"}}',
    "dropped": 'tidegate_events_total{{outcome="dropped",source="{}"}}',
    "dead": 'tidegate_events_total{{outcome="dead",source="{}"}}',
    "pending": 'tidegate_events_pending{{source="{}"}}',
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event as the commands tell of it."""

    source: str
    id: str
    delivery: str
    status: str
    """Its outcome, or "pending"."""


@dataclass(frozen=True, slots=True)
class Books:
    """Every event of a store that its sender can know of."""

    deliveries: Mapping[str, list[Event]]
    stored: int
    """How many events `verify` counts."""

    @property
    def events(self) -> list[Event]:
        return [event for events in self.deliveries.values() for event in events]

    def unread(self) -> "Books":
        """The same deliveries, all of them to be read again."""
        return Books({delivery: [] for delivery in self.deliveries}, 0)

    def processed(self) -> Counter[tuple[str, str]]:
        """How often each id was processed."""
        return Counter((event.source, event.id) for event in self.events if event.status == "processed")


NO_BOOKS = Books({}, 0)


def read_books(child: Child, *, unanswered: Iterable[tuple[str, str]] = (), known: Books = NO_BOOKS) -> Books:
    """Every event of a server, running or not; raise AssertionError if its store is not whole.

    `unanswered`: source and id of each event that was sent and may be there; `known`: what was read before, of which
    only what was pending is read again.
    """
    late = {found["delivery"] for source, event_id in unanswered for found in receipts(child, source, event_id)}
    deliveries = {}
    for delivery in dict.fromkeys([*known.deliveries, *child.delivered, *late]):
        events = known.deliveries.get(delivery, [])
        is_settled = events and all(event.status != "pending" for event in events)
        deliveries[delivery] = events if is_settled else _events_of(child, delivery)
    return Books(deliveries, sum(each["received"] for each in totals(child).values()))


def _events_of(child: Child, delivery: str) -> list[Event]:
    done = child.cli("delivery", delivery)
    if done.returncode:
        assert "there is no delivery" in done.stderr, done.stderr
        return []
    said = json.loads(done.stdout)
    items = [item for item in said["items"] if "rejected" not in item]
    return [Event(said["source_config_id"], item["inbound_event_id"], delivery, _status(item)) for item in items]


def _status(said: Mapping[str, Any]) -> str:
    return "pending" if said.get("pending") else str(said["outcome"])


def receipts(child: Child, source: str, event_id: str) -> list[dict[str, Any]]:
    """Every receipt of an id, oldest first."""
    done = child.cli("receipt", "--all", source, "--", event_id)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    assert found or "there is no event" in done.stderr or "has a source" in done.stderr, done.stderr
    return found[::-1]


def statuses(child: Child, source: str, event_id: str) -> list[str]:
    """What became of the events of this id, oldest first."""
    return [_status(each) for each in receipts(child, source, event_id)]


def totals(child: Child) -> Totals:
    """What `verify` counts; raise AssertionError if it has anything to say against the store."""
    done = child.cli("verify")
    assert done.returncode == 0, done.stderr
    found: Totals = json.loads(done.stdout)["sources"]
    return found


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


def _counted(child: Child) -> Totals:
    said = child.metrics()
    sources = {name.split('"')[1] for name in said if name.startswith("tidegate_events_received_total")}
    return {
        source: {name: int(said[sample.format(source)]) for name, sample in METRICS_OF_TOTALS.items()}
        for source in sources
    }


def check_identity(child: Child) -> None:
    """Raise AssertionError unless the metrics of a running server say what its store says, and add up."""
    found: list[tuple[Totals, Totals]] = []

    def is_still() -> bool:
        """Nothing reached the disk between the two: an outcome may at any time."""
        before, there, after = _counted(child), totals(child), _counted(child)
        found.append((after, there))
        return before == after

    eventually(is_still)
    said, there = found[-1]
    assert there
    for source, counts in there.items():
        assert said[source] == {name: counts[name] for name in METRICS_OF_TOTALS}
    for counts in said.values():
        ended = sum(counts[name] for name in ("processed", "duplicate", "dropped", "dead", "pending"))
        assert counts["received"] + counts["replayed"] + counts["requeued"] == ended
