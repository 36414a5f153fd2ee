"""`requeue`: gives dead events back to the processor, through the running server or directly in the store."""

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from server.base.clock import Clock
from server.cli.client import AdminClient
from server.cli.exit_codes import ERROR, MISTAKE
from server.cli.failure import CommandFailed
from server.cli.output import print_json
from server.cli.progress import Progress
from server.config.load import StorageConfig, load_section
from server.flow.requeue import REQUEUE_EVENTS_MAX
from storage.errors import StoreLocked
from storage.lmdb_store.environment import Store
from storage.model import Group, StatusChange
from storage.read.reader import Reader
from storage.statuses import EventStatus
from storage.write.writer import Writer

EVENT_IDS_A_REQUEST = 1000

WATCH_POLL_SECONDS = 0.2
"""How often the server is asked how far it is."""

WATCH_SECONDS_MAX = 5
"""The longest that its answer may take: what it would show is not worth more."""

RequeueResult = tuple[int, list[str]]
"""How many events were requeued, and the ids without a dead event."""


def run(config: Path, source: str, event_ids: Sequence[str], *, every: bool) -> int:
    if every and event_ids:
        raise CommandFailed(MISTAKE, "name the events to be requeued, or say --all; not both")
    if not every and not event_ids:
        raise CommandFailed(MISTAKE, "name the events to be requeued, or say --all")
    wanted = None if every else list(dict.fromkeys(event_ids))
    storage = load_section(config, StorageConfig)
    try:
        Store.open(storage.path, mode="read").close()  # opening for writing would create a store
        store = Store.open(storage.path, map_size_bytes=storage.map_size_bytes, mode="write")
    except StoreLocked:
        count, unknown = _by_server(config, source, wanted)
    else:
        try:
            count, unknown = _in_store(store, source, wanted)
        finally:
            store.close()
    print_json({"requeued": count, "unknown": unknown})
    return ERROR if unknown else 0


def _by_server(config: Path, source_id: str, event_ids: Sequence[str] | None) -> RequeueResult:
    count, unknown = 0, list[str]()
    with AdminClient(config) as client, _watching(config, source_id):
        for command in _commands(event_ids):
            so_far = f"; {count} more were given back before" if count else ""
            done = client.post("/requeue", {"source": source_id} | command, ("requeued", "unknown"), so_far)
            count, unknown = count + int(done["requeued"]), unknown + list(done["unknown"])
    return count, unknown


@contextmanager
def _watching(config: Path, source_id: str) -> Iterator[None]:
    """Show meanwhile, on a terminal, how many dead events of the source the server has given back."""
    before = _before(config, source_id) if sys.stderr.isatty() else None
    if before is None or not _dead_now(before):
        yield
        return
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(config, source_id, before, done))
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _before(config: Path, source_id: str) -> Mapping[str, int] | None:
    """Return the counts before anything is given back; None if there are none to be had, as the requeue will say."""
    with suppress(CommandFailed), AdminClient(config, WATCH_SECONDS_MAX) as client:
        return _totals(client, source_id)
    return None


def _watch(config: Path, source_id: str, before: Mapping[str, int], done: threading.Event) -> None:
    with (
        suppress(CommandFailed),
        AdminClient(config, WATCH_SECONDS_MAX) as client,
        Progress("events given back", _dead_now(before)) as bar,
    ):
        bar.update(0)
        while not done.wait(WATCH_POLL_SECONDS):
            bar.update(_totals(client, source_id)["requeued"] - before["requeued"])


def _totals(client: AdminClient, source_id: str) -> Mapping[str, int]:
    sources = client.get("/sources", ("sources",))["sources"]
    return next((each["totals"] for each in sources if each["id"] == source_id), {"dead": 0, "requeued": 0})


def _commands(event_ids: Sequence[str] | None) -> Iterator[dict[str, object]]:
    if event_ids is None:
        yield {"all": True}
        return
    for at in range(0, len(event_ids), EVENT_IDS_A_REQUEST):
        yield {"event_ids": list(event_ids[at : at + EVENT_IDS_A_REQUEST])}


def _in_store(store: Store, source_id: str, event_ids: Sequence[str] | None) -> RequeueResult:
    reader, writer = Reader(store), Writer(store)
    if source_id not in writer.totals:
        raise CommandFailed(ERROR, f"the store has no event of source {source_id!r}")
    unknown: list[str] = []
    found = _all_dead(reader, source_id) if event_ids is None else _dead(reader, source_id, event_ids, unknown)
    count = 0
    dead = _dead_now(asdict(writer.totals[source_id])) if event_ids is None else None
    with Progress("events given back", dead) as bar:
        while numbers := list(islice(found, REQUEUE_EVENTS_MAX)):
            outcomes = StatusChange(source_id, EventStatus.PENDING, numbers, [0] * len(numbers), Clock().now_ms(), 0)
            writer.write(Group(changes=[outcomes]))
            count += len(numbers)
            bar.update(count)
    return count, unknown


def _all_dead(reader: Reader, source_id: str) -> Iterator[int]:
    after = 0
    while numbers := reader.dead_numbers(source_id, after, REQUEUE_EVENTS_MAX):
        after = numbers[-1]
        yield from numbers


def _dead(reader: Reader, source_id: str, event_ids: Sequence[str], unknown: list[str]) -> Iterator[int]:
    """Yield the numbers in ascending order; add ids without a dead event to `unknown`."""
    dead = reader.dead_of(source_id, event_ids)
    unknown += [event_id for event_id, numbers in dead.items() if not numbers]
    yield from sorted(number for numbers in dead.values() for number in numbers)


def _dead_now(totals: Mapping[str, int]) -> int:
    """Return how many events are dead, of which some may have been given back before."""
    return totals["dead"] - totals["requeued"]
