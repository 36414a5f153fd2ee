"""`requeue` and `discard`: what becomes of dead events, through the running server or directly in the store."""

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from server.base.clock import Clock
from server.cli.client import AdminClient
from server.cli.exit_codes import ERROR, MISTAKE
from server.cli.failure import CommandFailed, agreed, say
from server.cli.known_source import check_known, check_known_in_store
from server.cli.output import print_record
from server.cli.progress import Progress
from server.cli.reading import open_store
from server.config.load import StorageConfig, load_section
from server.flow.requeue import REQUEUE_EVENTS_MAX, SAID, acted_upon, found_dead
from server.observe.event_query import BadQuery, time_of
from storage.errors import StoreLocked
from storage.frozen import frozen
from storage.history import DISCARDED, REQUEUED
from storage.lmdb_store.environment import Store
from storage.model import Group
from storage.read.dead import ALL_DEAD, DeadFilter, DeadQuery
from storage.read.reader import Reader
from storage.write.writer import Writer

EVENT_IDS_A_REQUEST = 1000

WATCH_POLL_SECONDS = 0.2
"""How often the server is asked how far it is."""

WATCH_SECONDS_MAX = 5
"""The longest that its answer may take: what it would show is not worth more."""

Result = tuple[int, list[str]]
"""How many events it was done to, and the ids without a dead event."""


@frozen
class Options:
    """What the command was told, as it was written."""

    every: bool
    since: str | None
    error: str | None
    limit: int | None
    dry_run: bool
    shape: str | None

    @property
    def is_of_some(self) -> bool:
        """Whether it is said which of all are meant, or that all are."""
        return self.every or bool(self.filters)

    @property
    def filters(self) -> dict[str, object]:
        """Return those that say which of all are meant, as the admin side takes them."""
        given = {"since": self.since, "error": self.error, "limit": self.limit}
        return {name: value for name, value in given.items() if value is not None}


def run_requeue(
    config: Path,
    source: str,
    event_ids: Sequence[str],
    *,
    every: bool,
    since: str | None,
    error: str | None,
    limit: int | None,
    dry_run: bool,
    shape: str | None,
) -> int:
    """Give dead events back to the processor."""
    return _run(config, source, event_ids, REQUEUED, Options(every, since, error, limit, dry_run, shape))


def run_discard(
    config: Path,
    source: str,
    event_ids: Sequence[str],
    *,
    every: bool,
    since: str | None,
    error: str | None,
    limit: int | None,
    dry_run: bool,
    yes: bool,
    shape: str | None,
) -> int:
    """Let dead events be dead for good; ask on a terminal, if they are not named."""
    options = Options(every, since, error, limit, dry_run, shape)
    asks = not event_ids and not yes and sys.stdin.isatty()
    return _run(config, source, event_ids, DISCARDED, options, asks=asks)


def _run(
    config: Path, source_id: str, event_ids: Sequence[str], change: str, options: Options, *, asks: bool = False
) -> int:
    some = options.is_of_some
    if some and event_ids:
        raise CommandFailed(MISTAKE, f"name the events to be {change}, or say which with options; not both")
    if not some and not event_ids:
        raise CommandFailed(MISTAKE, f"name the events to be {change}, or say --all")
    if options.error == "":
        raise CommandFailed(MISTAKE, "--error: say a text that is in the errors of those that are meant")
    ids = None if some else list(dict.fromkeys(event_ids))
    wanted = _wanted(ids, options)
    if options.dry_run or asks:
        count, unknown = _counted(config, source_id, wanted)
        if options.dry_run:
            print_record({"dry_run": True, change: count, "unknown": unknown}, options.shape)
            return ERROR if unknown else 0
        if count and not agreed(f"{count} dead events of source {source_id!r} will be {change} for good: go on?"):
            say(f"nothing was {change}")
            return ERROR
    storage = load_section(config, StorageConfig)
    try:
        check_known_in_store(config, source_id)  # opening for writing would create a store
        store = Store.open(storage.path, map_size_bytes=storage.map_size_bytes, mode="write")
    except StoreLocked:
        count, unknown = _by_server(config, source_id, change, _commands(ids, options), wanted)
    else:
        try:
            count, unknown = _in_store(store, source_id, change, wanted)
        finally:
            store.close()
    print_record({change: count, "unknown": unknown}, options.shape)
    return ERROR if unknown else 0


def _wanted(event_ids: Sequence[str] | None, options: Options) -> DeadQuery:
    try:
        since_ms = 0 if options.since is None else time_of(options.since, Clock().now_ms())
    except BadQuery as bad:
        raise CommandFailed(MISTAKE, f"--since: {bad}") from None
    return DeadQuery(event_ids, DeadFilter(since_ms, options.error or ""), options.limit)


def _counted(config: Path, source_id: str, wanted: DeadQuery) -> Result:
    unknown: list[str] = []
    count = 0
    with open_store(config) as store, Progress("dead events counted") as progress:
        reader = Reader(store)
        check_known(config, source_id, reader)
        for count, _ in enumerate(found_dead(reader, source_id, wanted, unknown), 1):
            progress.update(count)
    return count, unknown


def _total(wanted: DeadQuery, dead: int) -> int | None:
    """Return how many of so many dead events are meant at most; None if only the store knows."""
    if wanted.event_ids is not None:
        return len(wanted.event_ids)
    if wanted.where != ALL_DEAD:
        return None
    return dead if wanted.limit is None else min(wanted.limit, dead)


def _commands(event_ids: Sequence[str] | None, options: Options) -> Iterator[dict[str, object]]:
    if event_ids is None:
        yield {"all": True} | options.filters
        return
    for at in range(0, len(event_ids), EVENT_IDS_A_REQUEST):
        yield {"event_ids": list(event_ids[at : at + EVENT_IDS_A_REQUEST])}


def _by_server(
    config: Path, source_id: str, change: str, commands: Iterator[dict[str, object]], wanted: DeadQuery
) -> Result:
    count, unknown = 0, list[str]()
    path = {REQUEUED: "/requeue", DISCARDED: "/discard"}[change]
    with AdminClient(config) as client, _watching(config, source_id, change, wanted):
        for command in commands:
            so_far = f"; {count} more were {SAID[change]} before" if count else ""
            done = client.post(path, {"source": source_id} | command, (change, "unknown"), so_far)
            count, unknown = count + int(done[change]), unknown + list(done["unknown"])
    return count, unknown


@contextmanager
def _watching(config: Path, source_id: str, change: str, wanted: DeadQuery) -> Iterator[None]:
    """Show meanwhile, on a terminal, of how many dead events of the source the server has disposed."""
    before = _before(config, source_id, change) if sys.stderr.isatty() else None
    if before is None or not before["dead"]:
        yield
        return
    done = threading.Event()
    bar = Progress(f"events {SAID[change]}", _total(wanted, before["dead"]))

    def disposed_of(client: AdminClient) -> int:
        return _counts(client, source_id, change)["done"] - before["done"]

    watch = threading.Thread(target=_watch, args=(config, disposed_of, bar, done))
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _before(config: Path, source_id: str, change: str) -> Mapping[str, int] | None:
    """Return the counts before anything is done; None if there are none to be had, as the command will say."""
    with suppress(CommandFailed), AdminClient(config, WATCH_SECONDS_MAX) as client:
        return _counts(client, source_id, change)
    return None


def _watch(config: Path, count: Callable[[AdminClient], int], bar: Progress, done: threading.Event) -> None:
    with suppress(CommandFailed), AdminClient(config, WATCH_SECONDS_MAX) as client, bar:
        bar.update(0)
        while not done.wait(WATCH_POLL_SECONDS):
            bar.update(count(client))


def _counts(client: AdminClient, source_id: str, change: str) -> Mapping[str, int]:
    sources = client.get("/sources", ("sources",))["sources"]
    found = next((each for each in sources if each["id"] == source_id), None)
    return {"dead": 0, "done": 0} if found is None else {"dead": found["dead"], "done": found["totals"][change]}


def _in_store(store: Store, source_id: str, change: str, wanted: DeadQuery) -> Result:
    reader, writer = Reader(store), Writer(store)
    if source_id not in writer.totals:
        raise CommandFailed(ERROR, f"the store has no event of source {source_id!r}")
    unknown: list[str] = []
    found = found_dead(reader, source_id, wanted, unknown)
    count = 0
    with Progress(f"events {SAID[change]}", _total(wanted, writer.totals[source_id].dead_now)) as bar:
        while numbers := list(islice(found, REQUEUE_EVENTS_MAX)):
            now_ms, store_ms = Clock().now_ms(), writer.clock.now().store_ms
            done = acted_upon(reader, source_id, numbers, change, now_ms=now_ms, store_ms=store_ms)
            writer.write(Group(changes=[done]))
            count += len(numbers)
            bar.update(count)
    return count, unknown
