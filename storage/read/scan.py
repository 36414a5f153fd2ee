"""Finds the events that a query describes, page by page, each in short transactions: nothing is held between pages.

What the index can tell goes first (whole ids, times), then statuses, then the source in the heads of records, then what
was found at intake, and last, of what is left, the events themselves. What is given back or processed between two pages
has the status that it has when its page is read. No page repeats or skips a number, whatever came or left meanwhile.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy
from numpy.typing import NDArray

from storage.codec.index_rows import fingerprint, provider_fingerprints
from storage.codec.log_record import LogHead
from storage.codec.records import digest
from storage.deliveries import NumberedDeliveries
from storage.frozen import frozen
from storage.model import EventRecord
from storage.read.conditions import conditions, has
from storage.read.lookup import event_records, places_of
from storage.read.query import EventQuery
from storage.read.snapshot import Block, Snapshot, Snapshots

PAGE_EVENTS_MAX = 500
"""In one page."""
PAGE_BODY_BYTES_MAX = 8 * 2**20
"""Of the deliveries of a page that is read with bodies: it ends with the record of the log that exceeds it."""
PAGE_LOOKS_MAX = 20_000
"""Events and blocks that are looked at for one page: some tenths of a second, if all of them must be built."""

Build = Callable[[NumberedDeliveries, Sequence[int]], Iterable[Mapping[str, object]]]
"""Builds the normalised events at these positions."""
Record = LogHead | NumberedDeliveries
"""Deliveries that follow one another, as they are stored or as they are known."""


@frozen
class EventPage:
    """What was found in one stretch of the log, in the order that the query asks for."""

    records: Sequence[EventRecord]
    following: EventQuery | None
    """The query for what comes next; None if there is nothing more to look at. There may be, if a page is empty."""
    looked: int
    """How many events and blocks were looked at."""


def select(
    snapshots: Snapshots,
    query: EventQuery,
    *,
    build: Build | None = None,
    bodies: bool = False,
    events_max: int = PAGE_EVENTS_MAX,
    looks_max: int = PAGE_LOOKS_MAX,
    known: Sequence[NumberedDeliveries] = (),
) -> EventPage:
    """Return the next page of a query. `build` is needed if it has `where`; `bodies`: of the deliveries found. `known`:
    a stretch of the log that is at hand, whose records need not be read."""
    events_max = events_max if query.limit is None else min(events_max, query.limit)
    page = _Page(query, build, bodies=bodies, events_max=events_max, looks_max=looks_max, known=known)
    place: int | None = page.begin
    while place is not None and not page.is_full:
        with snapshots.take() as snapshot:
            place = page.walk(snapshot, place)
    return EventPage(page.records, page.following(place), page.looked)


class _Page:
    """Collects a page. A place is the number to look at next; if the newest come first, the one after that."""

    def __init__(
        self,
        query: EventQuery,
        build: Build | None,
        *,
        bodies: bool,
        events_max: int,
        looks_max: int,
        known: Sequence[NumberedDeliveries],
    ) -> None:
        self._query = query
        self._build = build
        self._bodies = bodies
        self._events_max = events_max
        self._looks_max = looks_max
        self._known = known
        self._body_bytes = 0
        self._digests: Collection[bytes] | None = None
        """Of the whole id that is asked for, in each source."""
        self.records: list[EventRecord] = []
        self.looked = 0

    @property
    def begin(self) -> int | None:
        query = self._query
        if query.limit == 0:
            return None
        return query.after + 1 if query.oldest_first else (2**63 if query.before is None else query.before)

    @property
    def is_full(self) -> bool:
        """Whether the page ends with this block."""
        return self.looked >= self._looks_max or self._has_enough

    @property
    def _has_enough(self) -> bool:
        """Whether the page ends with this event. Not after so many looks: a page has a block at least, or a record that
        costs more of them would be begun again and again."""
        return self._body_bytes >= PAGE_BODY_BYTES_MAX or len(self.records) >= self._events_max

    def following(self, place: int | None) -> EventQuery | None:
        """Return the query that goes on from there."""
        query = self._query
        left = None if query.limit is None else query.limit - len(self.records)
        if place is None or left == 0:
            return None
        if query.oldest_first:
            return replace(query, after=place - 1, limit=left)
        return replace(query, before=place, limit=left) if place > query.after + 1 else None

    def walk(self, snapshot: Snapshot, place: int) -> int | None:
        """Look from there on until page or snapshot is used up; return the place to go on from, None at the end."""
        query = self._query
        end = snapshot.end if query.before is None else min(query.before, snapshot.end)
        low, high = (place, end) if query.oldest_first else (query.after + 1, min(place, end))
        if query.event_id is not None:
            self._digests = [digest(each, query.event_id) for each in _sources(snapshot, query)]
        for stretch in _stretches(snapshot, query, self._digests, low, high):
            for block in _blocks(snapshot, stretch, oldest_first=query.oldest_first):
                numbers = range(max(stretch.start, block.first), min(stretch.stop, block.end))
                self.looked += 1
                stopped = self._look_at(snapshot, block, numbers)
                if stopped is not None:
                    return stopped
                if snapshot.exhausted or self.is_full:
                    return numbers.stop if query.oldest_first else numbers.start
        return None

    def _look_at(self, snapshot: Snapshot, block: Block, numbers: range) -> int | None:
        """Add what is wanted of a block; return the place where the page was full before the end, if so."""
        query = self._query
        statuses = block.rows["status"][numbers.start - block.first : numbers.stop - block.first]
        wanted = numpy.isin(statuses, list(query.statuses)) if query.statuses else numpy.ones(len(numbers), "?")
        if self._digests is not None:
            wanted &= _with_digests(snapshot, block, numbers, self._digests)
        if not wanted.any():
            return None
        records = self._records(snapshot, numbers)
        for record in records if query.oldest_first else reversed(list(records)):
            if query.source_id not in (None, record.source_id):
                continue
            start, stop = max(numbers.start, record.first), min(numbers.stop, record.end)
            mine = numpy.flatnonzero(wanted[start - numbers.start : stop - numbers.start]) + start
            if len(mine):
                self._add(snapshot, block, record, self._in_record(snapshot, record, mine.tolist()))
            if self._has_enough:
                last = self.records[-1].number
                return last + 1 if query.oldest_first else last
        return None

    def _records(self, snapshot: Snapshot, numbers: range) -> Iterable[Record]:
        """Return what holds these events of a block: what is known, if that is all of them and their bodies are there,
        else what is stored."""
        known = self._known
        is_known = known and known[0].first <= numbers.start and numbers.stop <= known[-1].end
        if is_known and snapshot.front("bodies") <= known[0].first:
            return [each for each in known if each.first < numbers.stop and numbers.start < each.end]
        return snapshot.heads(numbers.start, numbers.stop)

    def _in_record(self, snapshot: Snapshot, record: Record, numbers: Sequence[int]) -> Sequence[int]:
        """Return those of these ascending events of a record that are wanted."""
        query = self._query
        if query.looks_into_facts:
            self.looked += len(numbers)
            numbered = _deliveries(snapshot, record, bodies=False)
            positions = [number - record.first for number in numbers]
            for matching in conditions(query):
                positions = matching(numbered, positions)
            if query.where and positions and not (isinstance(record, LogHead) and snapshot.bodies_left(record)):
                positions = self._built(_deliveries(snapshot, record, bodies=True), positions)
            elif query.where:
                positions = []
            numbers = [record.first + position for position in positions]
        return numbers

    def _built(self, numbered: NumberedDeliveries, positions: Sequence[int]) -> list[int]:
        if self._build is None:
            raise ValueError("a query with `where` needs what builds events")
        events = self._build(numbered, positions)
        where = self._query.where
        return [
            position for position, event in zip(positions, events, strict=True) if all(has(event, w) for w in where)
        ]

    def _add(self, snapshot: Snapshot, block: Block, record: Record, numbers: Sequence[int]) -> None:
        """Add these ascending events of a record, or as many as the page has room for."""
        room = self._events_max - len(self.records)
        chosen = numbers[:room] if self._query.oldest_first else numbers[-room:]
        if not chosen:
            return
        whole = _deliveries(snapshot, record, bodies=self._bodies)
        found: list[EventRecord] = []
        for numbered, run in _runs(whole, chosen):
            self._body_bytes += numbered.deliveries.size
            found += event_records(snapshot, block, numbered, run)
        self.looked += len(found)
        self.records += found if self._query.oldest_first else reversed(found)


def _deliveries(snapshot: Snapshot, record: Record, *, bodies: bool) -> NumberedDeliveries:
    return snapshot.deliveries(record, bodies=bodies) if isinstance(record, LogHead) else record


def _runs(whole: NumberedDeliveries, numbers: Sequence[int]) -> Iterator[tuple[NumberedDeliveries, Sequence[int]]]:
    """Yield these ascending numbers with their deliveries, and no others: as many together as follow one another."""
    places = whole.places_of(numbers)
    cuts = [at for at, (one, other) in enumerate(pairwise(places), 1) if other - one > 1]
    for start, stop in pairwise([0, *cuts, len(numbers)]):
        yield whole.part(places[start], places[stop - 1] + 1), numbers[start:stop]


def _sources(snapshot: Snapshot, query: EventQuery) -> Collection[str]:
    return snapshot.totals() if query.source_id is None else (query.source_id,)


def _stretches(
    snapshot: Snapshot, query: EventQuery, digests: Collection[bytes] | None, low: int, high: int
) -> Iterator[range]:
    """Yield the stretches of numbers that may hold something, in the order of the query."""
    index = snapshot.index
    if low >= high:
        return iter(())
    if digests is not None:
        return index.with_ids(list(map(fingerprint, digests)), low, high, oldest_first=query.oldest_first)
    if query.provider_id is not None:
        sources = _sources(snapshot, query)
        wanted = [fingerprint(digest(each, query.provider_id)) for each in sources]
        wanted += [int(provider_fingerprints(each, [query.provider_id])[0]) for each in sources]
        return index.with_ids(wanted, low, high, oldest_first=query.oldest_first)
    if query.since_ms is not None or query.until_ms is not None:
        return index.received(query.since_ms, query.until_ms, low, high, oldest_first=query.oldest_first)
    return iter([range(low, high)])


def _with_digests(snapshot: Snapshot, block: Block, numbers: range, wanted: Collection[bytes]) -> NDArray[numpy.bool_]:
    """Return which of these events of a block have one of these digests."""
    digests = snapshot.digests(block)
    found = numpy.zeros(len(block.rows), "?")
    for each in wanted:
        found[[place for place, _ in places_of(digests, each, block.first)]] = True
    return found[numbers.start - block.first : numbers.stop - block.first]


def _blocks(snapshot: Snapshot, stretch: range, *, oldest_first: bool) -> Iterator[Block]:
    for block in snapshot.blocks(stretch.start) if oldest_first else snapshot.blocks_backward(stretch.stop):
        if block.first >= stretch.stop or block.end <= stretch.start:
            return
        yield block
