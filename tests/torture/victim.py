"""A store to be damaged, drawn from a seed, and what is in one: records of every kind, free pages, a used journal."""

import shutil
import zlib
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from random import Random

from server.flow.suspects import find_suspects
from storage.deliveries import NumberedDeliveries
from storage.journal.journal import Journal
from storage.lmdb_store.environment import Store
from storage.model import Append, Group, StatusChange
from storage.read.snapshot import Snapshots
from storage.statuses import EventStatus
from storage.write.writer import Writer
from tests.support.store import delivery, opened, outcome

SOURCES = ("archive", "worked")
BODY_BYTES = (10, 300, 3000, 30_000)
"""Several in a page, in pieces, in pages of their own."""
GROUPS = range(30, 60)
WINDOW_MS = 3_600_000
OUTCOMES = (EventStatus.PROCESSED, EventStatus.PROCESSED, EventStatus.DEAD, EventStatus.DROPPED)

Content = Mapping[int, tuple[str, str, int, str]]
"""By the number of an event: its source, its id, a checksum of its delivery's body, its status."""


def make(path: Path, older: Path, random: Random) -> Content:
    """Make a store as a server leaves it that was killed; return what it acknowledged, if only in the journal.

    `older` gets a copy of what its files were in between.
    """
    with opened(path) as (store, writer), closing(Journal(store)) as journal:
        find_suspects(store)
        count = random.choice(GROUPS)
        copied = random.randrange(count)
        for at in range(count):
            go_on(store, writer, random)
            if at == copied:
                shutil.copytree(path, older)
        known = dict(content(store))
        end = writer.next_number
        for _ in range(random.randint(0, 4)):
            append = Append(_delivery(end, random), 0, EventStatus.DEFERRED)
            if not journal.append([append]):
                break
            known |= _content_of(append.numbered, [EventStatus.DEFERRED] * append.numbered.count)
            end = append.numbered.end
        return known


def go_on(store: Store, writer: Writer, random: Random) -> None:
    """Write a group as a server does: deliveries, and what became of some that wait."""
    first = writer.next_number
    numbered = _delivery(first, random)
    admitted = random.randint(0, numbered.count)
    waiting = [number for number, (*_, status) in content(store).items() if status in ("PENDING", "DEFERRED")]
    chosen = sorted(random.sample(waiting, min(len(waiting), random.randint(0, 12))))
    writer.write(
        Group([Append(numbered, admitted, EventStatus.DEFERRED, 60_000)], list(_changes(store, chosen, random)))
    )


def content(store: Store) -> Content:
    """Return all that is in a store, read record by record."""
    found: dict[int, tuple[str, str, int, str]] = {}
    start: int | None = 0
    while start is not None:
        at, start = start, None
        with Snapshots(store).take() as snapshot:
            for block in snapshot.blocks(at):
                statuses = block.rows["status"].tolist()
                for head in snapshot.heads(block.first, block.end):
                    mine = statuses[head.first - block.first : head.end - block.first]
                    found |= _content_of(snapshot.deliveries(head, bodies=True), mine)
                if snapshot.exhausted:
                    start = block.end
                    break
    return found


def _content_of(numbered: NumberedDeliveries, statuses: list[int]) -> dict[int, tuple[str, str, int, str]]:
    found = {}
    number = numbered.first
    for body, count in zip(numbered.deliveries.bodies, numbered.deliveries.counts, strict=True):
        for _ in range(count):
            place = number - numbered.first
            status = EventStatus(statuses[place]).name
            found[number] = (numbered.source_id, numbered.event_id(place), zlib.crc32(body), status)
            number += 1
    return found


def _delivery(first: int, random: Random) -> NumberedDeliveries:
    ids = [f"{random.getrandbits(48):x}" for _ in range(random.choice((1, 1, 3, 40)))]
    return delivery(first, ids, source_id=random.choice(SOURCES), body=random.randbytes(random.choice(BODY_BYTES)))


def _changes(store: Store, numbers: list[int], random: Random) -> list[StatusChange]:
    """Return an outcome for each of these events."""
    known = content(store)
    changes = []
    for number in numbers:
        status = random.choice(OUTCOMES)
        details = {number: b'{"result":"' + b"x" * random.choice((1, 1000)) + b'"}'}
        wanted = status in (EventStatus.PROCESSED, EventStatus.DEAD)
        source_id = known[number][0]
        changes.append(outcome(status, [number], source_id=source_id, details=details if wanted else {}))
    return changes
