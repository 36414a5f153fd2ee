"""Writing groups: what one transaction costs, what it counts, and what it refuses."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from storage.check.verify import verify
from storage.codec.pieces import PIECES_MAX
from storage.errors import IllegalStatusChange, StoreFull
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from storage.statuses import EventStatus, Totals
from storage.write.transaction import BLOCK_EVENTS_MIN
from storage.write.writer import Writer
from tests.support.store import Faults, changed, delivery, numbered, opened, outcome, singles


def one_batch(first: int, count: int) -> list[Append]:
    return [numbered(first, count)]


def alone(first: int, count: int) -> list[Append]:
    return [numbered(first + at, 1) for at in range(count)]


def together(first: int, count: int) -> list[Append]:
    return [Append(singles(first, [f"id-{first + at}" for at in range(count)]), count, EventStatus.DEFERRED)]


def calls_of_one_group(path: Path, make: Callable[[int, int], list[Append]], count: int) -> int:
    """LMDB calls for so many new events and the outcomes, with results, of as many."""
    faults = Faults()
    with opened(path, open_environment=faults.open) as (_, writer):
        writer.write(Group(make(1, count)))
        for _ in range(2):  # so that the outcomes are for a block that is not the last, whatever its size
            writer.write(Group([numbered(writer.next_number, BLOCK_EVENTS_MIN)]))
        details = dict.fromkeys(range(1, count + 1), b'{"result":1}')
        finished = outcome(EventStatus.PROCESSED, range(1, count + 1), details=details)
        group = Group(make(writer.next_number, count), [finished])
        faults.calls = 0
        writer.write(group)
        return faults.calls


def test_calls_do_not_grow_with_events(tmp_path: Path) -> None:
    """A group of one delivery costs the same LMDB calls at 10, 100, 1000 and 2500 events, outcomes included, but for
    the pieces of its facts and bodies, of which there are few."""
    calls = [calls_of_one_group(tmp_path / str(count), one_batch, count) for count in (10, 100, 1000, 2500)]
    assert min(calls) <= 22
    assert max(calls) <= min(calls) + 2 * (PIECES_MAX - 1)


@pytest.mark.parametrize("make", [alone, together])
def test_calls_do_not_grow_with_deliveries(tmp_path: Path, make: Callable[[int, int], list[Append]]) -> None:
    """A group of single events of one source costs the same LMDB calls at 10, 100, 1000 and 2500 of them, but for the
    pieces of its facts and bodies, whether they came together or not."""
    calls = [calls_of_one_group(tmp_path / str(count), make, count) for count in (10, 100, 1000, 2500)]
    assert min(calls) <= 22
    assert max(calls) <= min(calls) + 2 * (PIECES_MAX - 1)


def test_a_wholly_dropped_group_writes_no_bodies(tmp_path: Path) -> None:
    """It takes one LMDB call less, and the group after it has its bodies under its own number."""
    faults = Faults()
    with opened(tmp_path / "store", open_environment=faults.open) as (store, writer):
        calls = []
        for append in (
            Append(delivery(1, ["a", "b"], body=b""), 0, EventStatus.DROPPED),
            Append(delivery(3, ["c", "d"], body=b"[{},{}]"), 1, EventStatus.DROPPED),
        ):
            faults.calls = 0
            writer.write(Group([append]))
            calls.append(faults.calls)
        assert calls[1] - calls[0] == 1
        snapshots = Snapshots(store)
        with snapshots.take() as snapshot:
            assert list(snapshot.first_numbers("facts", 0)) == [1, 3]
            assert list(snapshot.first_numbers("bodies", 0)) == [3]
    assert verify(tmp_path / "store").problems == []


def test_totals_follow_what_happened(tmp_path: Path) -> None:
    """Appends, outcomes, deaths and requeues move the totals, and the identity holds after each."""
    with opened(tmp_path / "store") as (store, writer):

        def after(group: Group) -> Totals:
            written = writer.write(group)
            assert written.totals["demo"].balanced
            assert written.totals == {"demo": writer.totals["demo"]} == Reader(store).totals()
            return written.totals["demo"]

        ten = Append(delivery(1, ["a", "b", "c", "d", "e", "f", "a", "b", "g", "h"]), 6, EventStatus.DEFERRED)
        assert after(Group([ten])) == Totals(received=10, deferred=4, pending=10, deferred_now=4, oldest=1)
        five = replace(numbered(11, 5), admitted=3, rest=EventStatus.DROPPED)
        assert after(Group([five])) == Totals(received=15, deferred=4, dropped=2, pending=13, deferred_now=4, oldest=1)
        done = outcome(EventStatus.PROCESSED, [1, 2, 3])
        twins = outcome(EventStatus.DUPLICATE, [7, 8], originals=[1, 2])
        assert after(Group([], [done, twins], {"demo": 4})) == Totals(
            received=15, deferred=4, dropped=2, processed=3, duplicate=2, pending=8, deferred_now=2, oldest=4
        )
        tried = outcome(EventStatus.PENDING, [4, 9], attempts=1)
        assert after(Group([], [tried])).deferred_now == 1
        dead = outcome(EventStatus.DEAD, [4, 5], details={4: b'{"error":"x"}', 5: b'{"error":"y"}'})
        assert after(Group([], [dead], {"demo": 6})) == Totals(
            received=15, deferred=4, dropped=2, processed=3, duplicate=2, dead=2, pending=6, deferred_now=1,
            dead_now=2, oldest=6,
        )  # fmt: skip
        again = outcome(EventStatus.PENDING, [5])
        assert after(Group([], [again])) == Totals(
            received=15, requeued=1, deferred=4, dropped=2, processed=3, duplicate=2, dead=2, pending=7,
            deferred_now=1, dead_now=1, oldest=5,
        )  # fmt: skip
        rest = outcome(EventStatus.PROCESSED, [5, 6, 9, 10, 11, 12, 13])
        assert after(Group([], [rest])) == Totals(
            received=15, requeued=1, deferred=4, dropped=2, processed=10, duplicate=2, dead=2, dead_now=1, oldest=16
        )
        unwanted = outcome(EventStatus.DISCARDED, [4], histories={4: b"[]"})
        assert after(Group([], [unwanted])) == Totals(
            received=15, requeued=1, deferred=4, dropped=2, processed=10, duplicate=2, dead=2, discarded=1, oldest=16
        )
        anew = Append(changed(delivery(16, ["a", "b"]), replay_of=[1, 2]), 2, EventStatus.DEFERRED)
        assert after(Group([anew])) == Totals(
            received=15, requeued=1, deferred=4, dropped=2, processed=10, duplicate=2, dead=2, discarded=1,
            replayed=2, pending=2, oldest=16,
        )  # fmt: skip
    assert verify(tmp_path / "store").problems == []


def test_a_rested_source_starts_its_oldest_anew(tmp_path: Path) -> None:
    """When a source had nothing pending its oldest is the first event that waits, not an older bound."""
    with opened(tmp_path / "store") as (_, writer):
        writer.write(Group([numbered(1, 1), numbered(2, 1, source_id="other")]))
        writer.write(Group([], [outcome(EventStatus.PROCESSED, [1])]))
        assert writer.totals["demo"].oldest == 3
        writer.write(Group([numbered(3, 2, source_id="other")]))
        written = writer.write(Group([numbered(5, 2)]))
        assert written.totals == {"demo": Totals(received=3, processed=1, pending=2, oldest=5)}


def test_a_dropped_delivery_moves_no_oldest(tmp_path: Path) -> None:
    """A delivery that was dropped whole counts as received and dropped, and nothing waits."""
    with opened(tmp_path / "store") as (_, writer):
        written = writer.write(Group([Append(delivery(1, ["a", "b"], body=b""), 0, EventStatus.DROPPED)]))
        assert written.totals == {"demo": Totals(received=2, dropped=2, oldest=3)}


ILLEGAL: dict[str, Sequence[object]] = {
    "an outcome twice": [outcome(EventStatus.PROCESSED, [1])],
    "an event that does not exist": [outcome(EventStatus.PROCESSED, [99])],
    "a requeue of what is not dead": [outcome(EventStatus.PENDING, [1])],
    "twice in one group": [outcome(EventStatus.PROCESSED, [2]), outcome(EventStatus.DEAD, [2])],
    "numbers that do not ascend": [outcome(EventStatus.PROCESSED, [3, 2])],
    "a duplicate without original": [outcome(EventStatus.DUPLICATE, [2])],
    "another source's event": [outcome(EventStatus.PROCESSED, [2], source_id="other")],
    "an event of the same group that was dropped": [outcome(EventStatus.PROCESSED, [6])],
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_outcome_writes_nothing(tmp_path: Path, name: str) -> None:
    """An outcome that cannot be raises IllegalStatusChange, and neither it nor its group leaves a trace."""
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 4)], []))
        writer.write(Group([], [outcome(EventStatus.PROCESSED, [1])]))
        before = writer.totals, writer.next_number
        dropped = Append(delivery(5, ["x", "y"]), 1, EventStatus.DROPPED)
        with pytest.raises(IllegalStatusChange):
            writer.write(Group([dropped], ILLEGAL[name]))  # type: ignore[arg-type]
        assert (writer.totals, writer.next_number) == before
        assert Reader(store).totals() == before[0]
        writer.write(Group([dropped], [outcome(EventStatus.PROCESSED, [2, 3, 4])]))
    assert verify(tmp_path / "store").problems == []


@pytest.mark.parametrize(
    "append",
    [
        numbered(2, 1),
        replace(numbered(1, 2), admitted=1, rest=EventStatus.DEAD),
        Append(delivery(1, []), 0, EventStatus.DROPPED),
    ],
)
def test_a_delivery_that_does_not_follow_is_refused(tmp_path: Path, append: Append) -> None:
    """A gap in the numbers, an impossible status and a delivery without events raise ValueError."""
    with opened(tmp_path / "store") as (_, writer), pytest.raises(ValueError):
        writer.write(Group([append]))


def test_a_reopened_writer_goes_on(tmp_path: Path) -> None:
    """After closing and opening, totals and numbers are the same, and a group joins the last block."""
    with opened(tmp_path / "store") as (_, writer):
        writer.write(Group([numbered(1, 3)], [], {}))
        writer.write(Group([], [outcome(EventStatus.DEAD, [2], details={2: b'{"error":"x"}'})]))
        before = writer.totals, writer.next_number
    with opened(tmp_path / "store") as (store, writer):
        assert (writer.totals, writer.next_number) == before
        writer.write(Group([numbered(4, 2)], [outcome(EventStatus.DEAD, [3], details={3: b'{"error":"y"}'})]))
        errors = [record.detail for record in Reader(store).dead(None)]
        assert errors == [{"error": "x"}, {"error": "y"}]
        with store.read_transaction() as txn:
            assert txn.stat(store.statuses)["entries"] == txn.stat(store.ids)["entries"] == 1
    assert verify(tmp_path / "store").problems == []


def test_a_full_map_refuses_and_recovers(tmp_path: Path) -> None:
    """On a full map a group raises StoreFull and changes nothing, and outcomes fit the reserve that was kept."""
    with opened(tmp_path / "store", map_size_bytes=1 << 21) as (store, writer):
        with pytest.raises(StoreFull):
            fill(store, writer, beyond_reserve=True)
        before = writer.totals
        assert Reader(store).totals() == before
        with pytest.raises(StoreFull):
            writer.write(Group([big(writer.next_number)]))
        assert Reader(store).totals() == before
    assert verify(tmp_path / "store").problems == []
    with opened(tmp_path / "other", map_size_bytes=1 << 21) as (store, writer):
        fill(store, writer, beyond_reserve=False)
        numbers = range(1, writer.next_number)
        for number in numbers:
            writer.write(Group([], [outcome(EventStatus.PROCESSED, [number])]))
        assert writer.totals["demo"].pending == 0
    assert verify(tmp_path / "other").problems == []


def big(first: int) -> Append:
    return numbered(first, 1, body=os.urandom(20_000))


def fill(store: Store, writer: Writer, *, beyond_reserve: bool) -> None:
    """Append until there is no room, or until it raises."""
    used = store.used_bytes()
    while beyond_reserve or used + store.reserve_bytes <= store.map_size_bytes:
        used = writer.write(Group([big(writer.next_number)])).used_bytes
        assert used == store.used_bytes()


def test_an_event_that_stays_pending_bounds_the_oldest(tmp_path: Path) -> None:
    """What says that an event is pending lowers the oldest pending number to it, where that was too high."""
    with opened(tmp_path / "store") as (_, writer):
        writer.write(Group([numbered(1, 10)], oldest={"demo": 5}))
        writer.write(Group([], [outcome(EventStatus.PENDING, [7])], oldest={"demo": 5}))
        assert writer.totals["demo"].oldest == 5
        writer.write(Group([], [outcome(EventStatus.PENDING, [3, 4], attempts=1)], oldest={"demo": 5}))
        assert writer.totals["demo"].oldest == 3
