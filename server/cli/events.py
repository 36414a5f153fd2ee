"""`events`: all events that meet some conditions, whether the server runs or not."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from server.base.clock import wall_ms
from server.base.json_text import json_text
from server.cli.csv_text import as_csv
from server.cli.exit_codes import INTERRUPTED, MISTAKE
from server.cli.failure import CommandFailed, say
from server.cli.interrupt import Interruptible
from server.cli.known_source import check_known
from server.cli.output import GREEN, RED, YELLOW, Column, Row, is_table, print_bytes, print_rows
from server.cli.progress import Progress
from server.cli.reading import open_reader
from server.observe.event_query import BadQuery, query_of
from server.observe.events import COLUMNS, cells, page_of
from server.observe.receipts import Value
from storage.read.query import EventQuery
from storage.read.reader import Reader

EVENTS_SHOWN = 100
"""If nobody says how many."""

_STYLES = {"dead": RED, "processed": GREEN, "pending": YELLOW, "deferred": YELLOW}
TABLE = (
    Column("NUMBER", "number", is_number=True),
    Column("RECEIVED", "received_at"),
    Column("SOURCE", "source_config_id"),
    Column("TYPE", "event_type"),
    Column("OUTCOME", "outcome", style=lambda row: _STYLES.get(row["outcome"], "")),
    Column("ID", "inbound_event_id"),
)
PAYLOAD = Column("PAYLOAD", lambda row: json_text(row["payload"]).decode())


def run(
    config: Path,
    *,
    source: str | None,
    last: int | None,
    every: bool,
    oldest: bool,
    payload: bool,
    shape: str | None,
    **asked: Any,
) -> int:
    """Print the events that the options describe."""
    if every and last is not None:
        raise CommandFailed(MISTAKE, "say how many are to be shown, or --all; not both")
    turned = oldest and last is not None
    limit = None if every else last or EVENTS_SHOWN
    query = described(oldest_first=oldest, limit=limit, source=source, **asked)
    with open_reader(config) as reader, Interruptible() as interrupt:
        check_known(config, source, reader)
        if turned:
            end = reader.end() if query.before is None else min(query.before, reader.end())
            query = replace(query, after=before_newest(reader, query, end, interrupt), before=end)
        listing = Listing(reader, query, interrupt, payloads=payload)
        rows, columns = listing.rows(), (*TABLE, PAYLOAD) if payload else TABLE
        shown = _print_csv(rows, payloads=payload) if shape == "csv" else print_rows(rows, columns, shape)
    if interrupt.is_interrupted:
        say(f"stopped: {listing.going_on()}")
        return INTERRUPTED
    if not shown and is_table(shape):
        say("there is no such event")
    if shown == limit and not turned:
        say(f"{shown} events; {listing.going_on()}")
    return 0


def described(**asked: Any) -> EventQuery:
    """Return the query that options describe. Raises CommandFailed."""
    try:
        return query_of(wall_ms(), **asked)
    except BadQuery as error:
        raise CommandFailed(MISTAKE, str(error)) from None


def check_reached(reader: Reader, after: int) -> None:
    """Raise CommandFailed if the store has not given this number yet: who goes on after it would wait without a word
    until it has."""
    last = reader.end() - 1
    if after > last:
        end = f"whose last event has the number {last}" if last else "which has no event yet"
        words = f"--after {after} is beyond the end of the store, {end}"
        raise CommandFailed(MISTAKE, f"{words}: is it another store, or an older copy of the one before?")


def before_newest(reader: Reader, query: EventQuery, end: int, interrupt: Interruptible) -> int:
    """Return the number before the newest events that meet a query, as many as its limit, of those before `end`; the
    last number if there is none. Shows meanwhile how many were looked at. Raises CommandFailed at Ctrl-C."""
    following: EventQuery | None = replace(query, before=end, oldest_first=False)
    first = end
    looked = 0
    with Progress("events looked at") as progress:
        while following is not None:
            if interrupt.is_interrupted:
                raise CommandFailed(INTERRUPTED, "stopped: nothing was shown")
            _, page = page_of(reader, following)
            first = page.records[-1].number if page.records else first
            looked += page.looked
            progress.update(looked)
            following = page.following
    return max(query.after, first - 1)


class Listing:
    """Reads what a query describes, page by page, and knows where it is."""

    def __init__(self, reader: Reader, query: EventQuery, interrupt: Interruptible, *, payloads: bool) -> None:
        self._reader = reader
        self._interrupt = interrupt
        self._query = query
        self._payloads = payloads
        self._place: int | None = query.after if query.oldest_first else query.before

    def rows(self) -> Iterator[Value]:
        """Yield the events; show meanwhile how many were looked at. Ends early at Ctrl-C."""
        query: EventQuery | None = self._query
        looked = 0
        with Progress("events looked at") as progress:
            while query is not None and not self._interrupt.is_interrupted:
                values, page = page_of(self._reader, query, payloads=self._payloads)
                looked += page.looked
                if page.records:
                    progress.clear()
                    yield from values
                    self._place = page.records[-1].number
                query = page.following
                if query is not None:
                    self._place = query.after if query.oldest_first else query.before
                progress.update(looked)

    def going_on(self) -> str:
        """Return in words how to go on where it ended."""
        name = "after" if self._query.oldest_first else "before"
        return "nothing was read" if self._place is None else f"to go on, say --{name} {self._place}"


def _print_csv(rows: Iterable[Row], *, payloads: bool) -> int:
    columns, for_terminal = [*COLUMNS, "payload"] if payloads else COLUMNS, sys.stdout.isatty()
    print_bytes(as_csv([columns]))
    count = 0
    for row in rows:
        print_bytes(as_csv([cells(row, columns)], for_terminal=for_terminal))
        count += 1
    return count
