"""Whatever is looked for is found alike with the look-up index, with a part of it, and by looking at everything."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.intake.events import build_events
from server.observe.events import page_of
from storage.codec.index_rows import GRANULE, span
from storage.deliveries import NumberedDeliveries
from storage.index.planner import IndexPlanner
from storage.lmdb_store.environment import Store
from storage.model import Append, Group
from storage.read.query import EventQuery, Where
from storage.read.reader import Reader
from storage.statuses import EventStatus
from storage.write.writer import Writer
from tests.support.store import AT_MS, changed, delivery, opened, outcome

EVENTS = span(2) + 3 * span(1) + 2 * GRANULE + 17
"""A segment of the second level, some shorter ones, and a rest."""
SOURCES = ("one", "two")
IDS = 500
"""Different ids, so that each comes again and again."""
TYPES = ("order.paid", "order.sent")
STAGES = {"none": 0, "a part": 10, "all": 10_000}
"""How many steps of the index were done."""


@dataclass(frozen=True)
class Known:
    """What was written of one event."""

    number: int
    source_id: str
    event_id: str
    provider_id: str | None
    event_type: str
    received_at_ms: int
    status: EventStatus
    value: int


def some_delivery(random: Random, first: int) -> tuple[NumberedDeliveries, Sequence[int]]:
    """A delivery, received when a clock that is set forth and back said so, and the values in its payloads."""
    count = random.choice([1, 1, 1, 2, 400])
    ids = [random.choice([None, f"id-{random.randrange(IDS)}"]) for _ in range(count)]
    at_ms = AT_MS + first * 10 + random.choice([0, 0, 0, 50_000, -50_000])
    values = [random.randrange(5) for _ in range(count)]
    items = [b'{"n":%d}' % value for value in values]
    body = items[0] if count == 1 else b"[%b]" % b",".join(items)
    found = delivery(first, ids, source_id=random.choice(SOURCES), body=body, received_at_ms=at_ms)
    providers = [random.choice([own, own, None, f"p-{random.randrange(IDS)}"]) for own in ids]
    return changed(found, provider_ids=providers, types=[random.choice(TYPES) for _ in ids]), values


def fill(writer: Writer, seed: int) -> tuple[list[Known], list[NumberedDeliveries]]:
    """Write events of all kinds; return them, and the deliveries that brought them."""
    random = Random(seed)
    known: list[Known] = []
    deliveries: list[NumberedDeliveries] = []
    while writer.next_number <= EVENTS:
        appends, changes = [], []
        first = writer.next_number
        for _ in range(random.choice([1, 5, 80])):
            numbered, values = some_delivery(random, first)
            first = numbered.end
            appends.append(Append(numbered, numbered.count, EventStatus.DEFERRED))
            status = random.choice([EventStatus.PROCESSED, EventStatus.DEAD, EventStatus.PENDING])
            if status is not EventStatus.PENDING:
                changes.append(outcome(status, range(numbered.first, first), source_id=numbered.source_id))
            deliveries.append(numbered)
            found = numbered.deliveries
            known += [
                Known(number, numbered.source_id, event_id, provider_id, kind, found.received_at_ms[0], status, value)
                for number, event_id, provider_id, kind, value in zip(
                    range(numbered.first, first),
                    numbered.event_ids(),
                    found.provider_ids,
                    found.types,
                    values,
                    strict=True,
                )
            ]
        writer.write(Group(appends))
        writer.write(Group([], changes))
    return known, deliveries


def index(store: Store, writer: Writer, steps: int) -> None:
    """Do so many steps of the index, or all."""
    planner = IndexPlanner(store)
    for step in islice(iter(planner.plan, None), steps):
        writer.write(Group(index=step))


@dataclass(frozen=True)
class Stores:
    """The same events in a store for each stage of the index."""

    readers: dict[str, Reader]
    known: list[Known]
    deliveries: list[NumberedDeliveries]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    with ExitStack() as stack:
        filled = tmp_path_factory.mktemp("store")
        with opened(filled) as (_, writer):
            known, deliveries = fill(writer, 7)
        readers = {}
        for stage, steps in STAGES.items():
            path = Path(shutil.copytree(filled, tmp_path_factory.mktemp("stage") / "store"))
            store, writer = stack.enter_context(opened(path))
            index(store, writer, steps)
            readers[stage] = Reader(store)
        yield Stores(readers, known, deliveries)


TIMES = st.none() | st.integers(AT_MS - 60_000, AT_MS + 10 * EVENTS + 60_000)
ID_NUMBERS = st.integers(0, IDS)
QUERIES = st.builds(
    EventQuery,
    source_id=st.sampled_from([None, *SOURCES, "nobody"]),
    since_ms=TIMES,
    until_ms=TIMES,
    statuses=st.sampled_from([(), (EventStatus.DEAD,), (EventStatus.PENDING, EventStatus.PROCESSED)]),
    event_type=st.sampled_from([None, None, *TYPES]),
    event_id=st.none() | ID_NUMBERS.map("id-{}".format),
    id_prefix=st.sampled_from([None, None, "id-3", "0000"]),
    provider_id=st.none() | ID_NUMBERS.map("p-{}".format) | ID_NUMBERS.map("id-{}".format),
    where=st.sampled_from([(), (), (Where(("payload", "n"), (3, "3")),), (Where(("payload", "n"), ("3",)),)]),
    after=st.just(0) | st.integers(0, EVENTS + 10),
    before=st.none() | st.integers(0, EVENTS + 10),
    oldest_first=st.booleans(),
    limit=st.none() | st.integers(0, 50),
)


def expected(known: Sequence[Known], query: EventQuery) -> list[int]:
    """The numbers of what meets all conditions, by looking at each."""
    wanted = {value for where in query.where for value in where.values}
    found = [
        each.number
        for each in known
        if query.source_id in (None, each.source_id)
        and (query.since_ms is None or each.received_at_ms >= query.since_ms)
        and (query.until_ms is None or each.received_at_ms < query.until_ms)
        and (not query.statuses or each.status in query.statuses)
        and query.event_type in (None, each.event_type)
        and query.event_id in (None, each.event_id)
        and (query.id_prefix is None or each.event_id.startswith(query.id_prefix))
        and query.provider_id in (None, each.provider_id)
        and (not query.where or each.value in wanted)
        and each.number > query.after
        and (query.before is None or each.number < query.before)
    ]
    return (found if query.oldest_first else found[::-1])[: query.limit]


def selected(reader: Reader, query: EventQuery | None) -> list[int]:
    """The same, page by page."""
    found = []
    while query is not None:
        page = reader.select(query, build=build_events, events_max=30, looks_max=5000)
        found += [record.number for record in page.records]
        query = page.following
    return found


@pytest.mark.parametrize("stage", STAGES)
@given(query=QUERIES)
@settings(max_examples=20, deadline=None)
def test_a_query_finds_what_it_describes(stores: Stores, stage: str, query: EventQuery) -> None:
    """Every page together is what meets the conditions, in order, whatever the index reaches."""
    assert selected(stores.readers[stage], query) == expected(stores.known, query)


@pytest.mark.parametrize("stage", STAGES)
@given(source_id=st.sampled_from(SOURCES), number=ID_NUMBERS)
@settings(max_examples=20, deadline=None)
def test_an_id_is_found_by_every_index(stores: Stores, stage: str, source_id: str, number: int) -> None:
    """All events of an id are found, the newest first, whatever the index reaches."""
    found = [record.number for record in stores.readers[stage].find_each(source_id, f"id-{number}")]
    assert found == expected(stores.known, EventQuery(source_id, event_id=f"id-{number}"))


@given(
    query=QUERIES,
    start=st.integers(0, 10_000),
    count=st.integers(1, 300),
    after=st.integers(-50, 500),
    before=st.integers(-500, 50),
)
@settings(max_examples=40, deadline=None)
def test_what_is_known_is_found_as_stored(
    stores: Stores, *, query: EventQuery, start: int, count: int, after: int, before: int
) -> None:
    """A stretch of the log that is at hand changes no page, wherever it and what is asked for begin and end."""
    reader, deliveries = stores.readers["a part"], stores.deliveries
    start %= len(deliveries)
    known = deliveries[start : start + count]
    near = replace(query, after=max(0, known[0].first + after), before=known[-1].end + before)
    assert shown(reader, near, known) == shown(reader, near, ())


def shown(reader: Reader, query: EventQuery, known: Sequence[NumberedDeliveries]) -> object:
    """All that a page says."""
    values, page = page_of(reader, query, payloads=True, known=known)
    return list(values), page.following, page.looked
