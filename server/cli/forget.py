"""`forget`: what events held leaves every file, through the running server or directly in the store."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from server.base.clock import Clock
from server.cli.client import AdminClient
from server.cli.events import Listing, described
from server.cli.exit_codes import ERROR, INTERRUPTED, MISTAKE
from server.cli.failure import CommandFailed, agreed, say
from server.cli.interrupt import Interruptible
from server.cli.known_source import check_known
from server.cli.output import print_record
from server.cli.progress import Progress
from server.cli.reading import open_store
from server.config.load import StorageConfig, load_section
from server.intake.forgetting import without_items
from storage.errors import StoreError, StoreLocked
from storage.forget.find import OfId, chosen, events_of_id
from storage.forget.overwrite import check_no_old_store, clear_holes, flush_pages, may_overwrite
from storage.forget.plan import ForgetPlan
from storage.forget.statuses import discarded, ended
from storage.journal.journal import Journal
from storage.lmdb_store.environment import Store
from storage.model import Group
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from storage.refusals.ring_file import forget as forget_refusals
from storage.rewrite import Erasure
from storage.write.writer import Writer

EVENT_IDS_A_REQUEST = 1000
TELL_SECONDS = 5.0
"""So long another process may keep something from being overwritten before that is told."""
POLL_SECONDS = 0.1

EXPECTED = ("forgotten", "events", "pending", "unknown", "overwritten")


def run(
    config: Path,
    source: str,
    event_ids: Sequence[str],
    *,
    where: Sequence[str],
    pending: bool,
    dry_run: bool,
    yes: bool,
    shape: str | None,
) -> int:
    """Say how many events there are, ask, and forget them."""
    if bool(event_ids) == bool(where):
        raise CommandFailed(MISTAKE, "name the events to be forgotten, or say which with --where; not both")
    if not (yes or dry_run or sys.stdin.isatty()):
        raise CommandFailed(MISTAKE, "there is no terminal to ask on; say --yes if it is meant, or --dry-run")
    storage = load_section(config, StorageConfig)
    try:
        check_no_old_store(storage.path)
    except StoreError as error:
        raise CommandFailed(ERROR, str(error)) from None
    with open_store(config) as store:
        check_known(config, source, Reader(store))
        found = list(dict.fromkeys(event_ids)) if event_ids else _ids_where(store, source, where)
        if found is None:
            return INTERRUPTED
        count = _Count(store, source, found)
    if dry_run:
        print_record({"dry_run": True} | count.report(), shape)
        return 0
    if not count.ids or (count.events and not (yes or _confirmed(source, count))):
        done = {"forgotten": 0, "events": 0, "pending": [], "unknown": count.unknown, "overwritten": False}
    else:
        done = _forget(config, storage, source, found, pending=pending)
    if done["pending"]:
        say("those under `pending` were left as they are: an event of theirs has no outcome yet; see --pending")
    print_record(done, shape)
    return ERROR if done["unknown"] or done["pending"] or not done["forgotten"] or not done["overwritten"] else 0


def _ids_where(store: Store, source: str, where: Sequence[str]) -> list[str] | None:
    """Return the ids of all events of the source with these values; None after a Ctrl-C."""
    query = described(source=source, where=where, oldest_first=True)
    with Interruptible() as interrupt:
        rows = Listing(Reader(store), query, interrupt, payloads=False).rows()
        found = list(dict.fromkeys(str(row["inbound_event_id"]) for row in rows))
        if interrupt.is_interrupted:
            say("stopped: nothing was forgotten")
            return None
    if not found:
        raise CommandFailed(ERROR, f"no event of source {source!r} has that, or its body has left")
    return found


class _Count:
    """How many events there are of some ids."""

    def __init__(self, store: Store, source: str, event_ids: Sequence[str]) -> None:
        snapshots, sources = Snapshots(store), list(Reader(store).totals())
        self.ids = self.events = self.pending = 0
        self.unknown: list[str] = []
        with Progress("ids looked up", len(event_ids)) as progress:
            for done, each in enumerate(event_ids):
                progress.update(done)
                found = events_of_id(snapshots, source, each, sources)
                self.ids += bool(found)
                self.events += sum(not event.is_forgotten for event in found)
                self.pending += sum(event.is_pending for event in found)
                self.unknown += [] if found else [each]

    def report(self) -> dict[str, object]:
        return {"ids": self.ids, "events": self.events, "pending": self.pending, "unknown": self.unknown}


def _confirmed(source: str, count: _Count) -> bool:
    waits = f", {count.pending} of them pending" if count.pending else ""
    say(f"{count.events} events of {count.ids} ids of source {source!r}{waits}: what they held will be gone for good")
    if agreed("forget them?"):
        return True
    say("nothing was forgotten")
    return False


def _forget(
    config: Path, storage: StorageConfig, source: str, event_ids: Sequence[str], *, pending: bool
) -> dict[str, object]:
    try:
        store = Store.open(storage.path, map_size_bytes=storage.map_size_bytes, mode="write")
    except StoreLocked:
        return _by_server(config, source, event_ids, pending=pending)
    try:
        return _in_store(store, source, event_ids, pending=pending)
    finally:
        store.close()


def _by_server(config: Path, source: str, event_ids: Sequence[str], *, pending: bool) -> dict[str, object]:
    """Have the server do it, of which the last request waits until all is overwritten."""
    forgotten, events, left, unknown, overwritten = 0, 0, list[str](), list[str](), True
    with AdminClient(config) as client, Progress("ids forgotten", len(event_ids)) as progress:
        for at in range(0, len(event_ids), EVENT_IDS_A_REQUEST):
            those = event_ids[at : at + EVENT_IDS_A_REQUEST]
            is_last = at + len(those) == len(event_ids)
            so_far = f"; {forgotten} ids were forgotten before" if forgotten else ""
            command = {"source": source, "event_ids": list(those), "pending": pending, "wait": is_last}
            done = client.post("/forget", command, EXPECTED, so_far)
            forgotten, events = forgotten + done["forgotten"], events + done["events"]
            left, unknown, overwritten = left + done["pending"], unknown + done["unknown"], done["overwritten"]
            progress.update(at + len(those))
    if not overwritten:
        say("it is forgotten; the server overwrites the rest as soon as no process sees it any more, see its log")
    return {
        "forgotten": forgotten,
        "events": events,
        "pending": left,
        "unknown": unknown,
        "overwritten": overwritten,
    }


def _in_store(store: Store, source: str, event_ids: Sequence[str], *, pending: bool) -> dict[str, object]:
    writer, snapshots = Writer(store), Snapshots(store)
    found = {each: events_of_id(snapshots, source, each, list(writer.totals)) for each in event_ids}
    those = chosen(found, pending=pending)
    if those.events:
        _rewrite(store, writer, snapshots, source, those.events)
    _overwrite(store, writer)
    return {
        "forgotten": those.ids,
        "events": len(those.events),
        "pending": those.pending,
        "unknown": those.unknown,
        "overwritten": True,
    }


def _rewrite(store: Store, writer: Writer, snapshots: Snapshots, source: str, events: Sequence[OfId]) -> None:
    sources = sorted({source} | {event.source_id for event in events})
    for each in sources:
        forget_refusals(store.path, each)
    now_ms = Clock().now_ms()
    for changes in (ended, discarded):
        for each in sources:
            own = sorted((event for event in events if event.source_id == each), key=lambda event: event.number)
            change = changes(snapshots, each, own, now_ms, writer.clock.now().store_ms)
            if change is not None:
                writer.write(Group(changes=[change]))
    numbers = [event.number for event in events]
    for step in ForgetPlan(snapshots, numbers, cut=without_items, now_ms=now_ms).steps():
        writer.write(Group(erasure=Erasure(step)))


def _overwrite(store: Store, writer: Writer) -> None:
    """Overwrite it in all files. What an earlier command owed is done, too."""
    journal = Journal(store)
    try:
        if not journal.overwrite():
            raise StoreError(f"the journal cannot be overwritten: {journal.error}")
    finally:
        journal.close()
    store.renew()
    free = clear_holes(store)
    tell_at = time.monotonic() + TELL_SECONDS
    writer.write(Group())
    while not may_overwrite(store, free):
        if time.monotonic() >= tell_at:
            say(
                "another process reads the store, which keeps what was forgotten from being overwritten; waiting for it"
            )
            tell_at += 60
        time.sleep(POLL_SECONDS)
        writer.write(Group())
    with Progress("pages overwritten", len(free.pages)) as progress:
        done = 0
        for stretch in free.stretches():
            writer.write(Group(erasure=Erasure(overwrite=stretch)))
            done += len(stretch)
            progress.update(done)
    flush_pages(store)
    writer.write(Group(erasure=Erasure(erased=True)))
