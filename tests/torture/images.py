"""The disk as power cuts could leave it, image by image: what was acknowledged is there once, and it goes on.

    python -m tests.torture.images '[{"trace": …}, …]'

A child of its own, since a damaged store may end its reader by a signal. It prints a JSON line for each image before it
looks at it, and one with what it found. The argument is in `tests/support/shim/disk.py`; what a client knew when the
power was cut are the marks before that record.
"""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from storage.check.audit import Audit
from storage.delivery_id import first_of
from storage.errors import StoreError
from storage.journal.journal import Journal
from storage.lmdb_store.environment import Store
from storage.migrate import convert
from storage.model import Group
from storage.read.snapshot import Snapshot, Snapshots
from storage.statuses import EventStatus
from storage.store_time import HostTime
from storage.write.writer import Writer
from tests.support.migrate_killed import verified
from tests.support.shim.disk import AnyOrder, Choice, Disk, Everything, Image, InOrder
from tests.support.shim.trace import MARK, Record, read_records
from tests.support.store import numbered, outcome

MAP_SIZE_BYTES = 2**24
FLUSHES = "SE"
STORE = "data"
LEFT = "left"
OTHER_BOOT = b"another boot...."

Choose = Callable[[Random, Disk], Choice]
KINDS: Mapping[str, Choose] = {
    "nothing": lambda random, disk: Choice(),
    "everything": lambda random, disk: Everything(),
    "in order": lambda random, disk: InOrder(random, disk.pending),
    "any order": lambda random, disk: AnyOrder(random),
}
"""What of all that was not flushed is on the disk."""


@dataclass(frozen=True, slots=True)
class Order:
    """Which images to judge."""

    trace: str
    root: str
    work: str
    """A directory for them."""
    kind: str
    """Of KINDS."""
    seed: int
    count: int
    """How many."""
    old: bool = False
    """The store may be one of an older format, to be converted."""
    behind: int = 0
    """The first record that a cut may follow."""
    without: Sequence[Sequence[str]] = ()
    """Flushes to take out, as if they had never been: S or E, and the name of a file or directory."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery as its sender knows it, or as it is in a store."""

    source: str
    ids: tuple[str, ...]
    body: str
    """A digest of it; LEFT if it has left."""

    @property
    def without_body(self) -> "Delivery":
        return replace(self, body=LEFT)

    @classmethod
    def of(cls, said: Sequence[Any]) -> "Delivery":
        source, ids, body = said
        return cls(source, tuple(ids), body)


@dataclass(slots=True)
class Known:
    """What the clients know at one moment."""

    sent: set[Delivery] = field(default_factory=set)
    acknowledged: dict[str, Delivery] = field(default_factory=dict)
    processed: set[tuple[str, str]] = field(default_factory=set)
    """Source and id of what was seen to be processed."""
    requeued: int = 0

    @property
    def events(self) -> int:
        """How many events were acknowledged."""
        return sum(len(each.ids) for each in self.acknowledged.values())

    def hear(self, said: Mapping[str, list[Any]]) -> None:
        if "sent" in said:
            self.sent.add(Delivery.of(said["sent"]))
        if "acknowledged" in said:
            identity, *delivery = said["acknowledged"]
            self.acknowledged[identity] = Delivery.of(delivery)
        if "processed" in said:
            source, event_id = said["processed"]
            self.processed.add((source, event_id))
        if "requeued" in said:
            self.requeued += len(said["requeued"])


@dataclass(slots=True)
class Found:
    """What is wrong with one image; nothing, if it is as it must be."""

    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cut:
    """The moment of a power cut: behind so many records."""

    at: int
    known: Known
    disk: Disk


def digest_of(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=8).hexdigest()


def main(orders: str) -> None:
    """Judge the images that the orders ask for, one after the other."""
    for number, each in enumerate(json.loads(orders)):
        _judge_all(number, Order(**each))


def _judge_all(number: int, order: Order) -> None:
    random = Random(order.seed)
    records = records_of(order)
    sent = known_at_last(records).sent
    for cut in cuts(records, Path(order.root), points_of(records, order, random)):
        _say(order=number, at=cut.at)
        with tempfile.TemporaryDirectory(dir=order.work) as work:
            write_image(cut.disk.image(KINDS[order.kind](random, cut.disk)), Path(work), random)
            found = judged(Path(work) / STORE, cut.known, sent, old=order.old)
        _say(order=number, at=cut.at, acknowledged=cut.known.events, found=asdict(found))


def records_of(order: Order) -> list[Record]:
    """Return the records, without the flushes that are to be taken out."""
    gone = {tuple(each) for each in order.without}
    return [
        each
        for each in read_records(Path(order.trace))
        if each.kind not in FLUSHES or (each.kind, Path(each.path).name) not in gone
    ]


def points_of(records: Sequence[Record], order: Order, random: Random) -> list[int]:
    """Return where to cut: at the end, and behind flushes, if nothing that was not flushed is there, else anywhere."""
    begun = max(order.behind, next(at for at, each in enumerate(records) if each.kind == MARK) + 1)
    kept = [at + 1 for at, each in enumerate(records[begun:], begun) if order.kind != "nothing" or each.kind in FLUSHES]
    if order.kind == "nothing":
        places = kept if len(kept) < order.count else random.sample(kept, order.count - 1)
    else:
        places = random.choices(kept, k=order.count - 1)
    return sorted([*places, len(records)])


def known_at_last(records: Iterable[Record]) -> Known:
    """Return all that clients knew in the end."""
    known = Known()
    for each in records:
        if each.kind == MARK:
            known.hear(each.mark)
    return known


def cuts(records: Sequence[Record], root: Path, points: Sequence[int]) -> Iterator[Cut]:
    """Yield the moments behind so many records, which ascend; what they hold goes on with the next."""
    disk, known, at = Disk(root, lambda path: f"{path}/".startswith(f"{STORE}/")), Known(), 0
    for point in points:
        for each in records[at:point]:
            if each.kind == MARK:
                known.hear(each.mark)
            else:
                disk.take(each)
        at = point
        yield Cut(point, known, disk)


def write_image(image: Image, to: Path, random: Random) -> None:
    """Make the image; lock.mdb, which is written through a map, may hold anything."""
    image.write(to)
    lock_file = to / STORE / "lock.mdb"
    if lock_file.exists() and random.random() < 0.5:
        lock_file.write_bytes(random.randbytes(len(lock_file.read_bytes())))


def judged(path: Path, known: Known, sent: set[Delivery], *, old: bool) -> Found:
    """Start with what is in this directory, compare it with what is known, go on, and audit it before and after."""
    found = Found()
    try:
        if old:
            convert_if_old(path)
        elif not path.exists() and known.acknowledged:
            found.problems.append("there is no directory of the store")
        with closing(Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")) as store:
            writer = Writer(store, lambda: HostTime(2**41, 5000, OTHER_BOOT))
            compare(store, known, sent, found)
            _audit(store, found)
            _go_on(store, writer)
        _start_again(path, found)
    except (StoreError, OSError) as error:
        found.problems.append(f"{type(error).__name__}: {error}")
    return found


def convert_if_old(path: Path) -> None:
    """Do as `tidegate migrate`."""
    convert.verify = verified  # type: ignore[attr-defined]  # in this process, for it is run so often
    convert._check_readable = lambda path: None  # as above
    if convert.is_old(path):
        convert.migrate(path, MAP_SIZE_BYTES, lambda step, done, total: None)
    convert.clear(path)


def compare(store: Store, known: Known, sent: set[Delivery], found: Found) -> None:
    """Compare what a store holds with what is known of it."""
    there, processed = contents(store)
    with Snapshots(store).take() as snapshot:
        receipts_front = snapshot.front("receipts")
    for identity, delivery in known.acknowledged.items():
        is_kept = (first_of(identity) or 0) >= receipts_front
        if there.get(identity) not in {delivery, delivery.without_body} and (is_kept or identity in there):
            found.lost += len(delivery.ids)
            found.problems.append(f"acknowledged as {delivery}, and there is {there.get(identity)}")
    if unsent := set(there.values()) - sent - {each.without_body for each in sent}:
        found.problems.append(f"nobody sent {unsent}")
    found.doubled += sum(count - 1 for count in processed.values())
    if again := known.processed - processed.keys():
        found.doubled += len(again)
        found.problems.append(f"was processed, and is not any more: {again}")
    with Snapshots(store).take() as snapshot:
        requeued = sum(each.requeued for each in snapshot.totals().values())
    if requeued < known.requeued:
        found.problems.append(f"{requeued} of {known.requeued} are requeued")


def contents(store: Store) -> tuple[dict[str, Delivery], Counter[tuple[str, str]]]:
    """Return every delivery, and how often each id was processed."""
    deliveries: dict[str, Delivery] = {}
    processed: Counter[tuple[str, str]] = Counter()
    with Snapshots(store).take() as snapshot:
        statuses = _statuses(snapshot)
        for head in list(snapshot.heads(1, snapshot.end)):
            record = snapshot.deliveries(head, bodies=True)
            ids, at = record.event_ids(), 0
            columns = record.deliveries
            for identity, count, body in zip(record.delivery_ids(), columns.counts, columns.bodies, strict=True):
                digest = LEFT if snapshot.bodies_left(head) else digest_of(body)
                deliveries[identity] = Delivery(record.source_id, tuple(ids[at : at + count]), digest)
                at += count
            processed.update(
                (record.source_id, event_id)
                for number, event_id in enumerate(ids, record.first)
                if statuses[number] == EventStatus.PROCESSED
            )
    return deliveries, processed


def _statuses(snapshot: Snapshot) -> dict[int, int]:
    found: dict[int, int] = {}
    for first in snapshot.first_numbers("statuses", 0):
        found.update(enumerate(snapshot.block_at(first).rows["status"].tolist(), first))
    return found


def _audit(store: Store, found: Found) -> None:
    Audit(store, found.problems.append, lambda database, number: None).run()


def _go_on(store: Store, writer: Writer) -> None:
    """Take one more, give what is pending an outcome, and have another in the journal when the process ends."""
    with Snapshots(store).take() as snapshot:
        pending = _pending(snapshot)
    first = writer.next_number
    changes = [outcome(EventStatus.DROPPED, numbers, source_id=source) for source, numbers in pending.items()]
    writer.write(Group([numbered(first, 3, source_id="archive")], changes))
    with closing(Journal(store)) as journal:
        assert journal.error is None, journal.error
        assert journal.append([numbered(first + 3, 1, source_id="archive")])


def _pending(snapshot: Snapshot) -> dict[str, list[int]]:
    statuses, found = _statuses(snapshot), dict[str, list[int]]()
    for head in list(snapshot.heads(1, snapshot.end)):
        numbers = [each for each in range(head.first, head.end) if statuses[each] < EventStatus.PROCESSED]
        if numbers:
            found.setdefault(head.source_id, []).extend(numbers)
    return found


def _start_again(path: Path, found: Found) -> None:
    with closing(Store.open(path, map_size_bytes=MAP_SIZE_BYTES, mode="write")) as store:
        if Writer(store, lambda: HostTime(2**41, 5000, OTHER_BOOT)).recovered != 1:
            found.problems.append("what went into the journal after the start is gone")
        _audit(store, found)


def _say(**line: object) -> None:
    os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv[1])
