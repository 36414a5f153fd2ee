"""`events`: all events that meet some conditions, whether the server runs or not."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from server.base.clock import wall_ms
from server.base.printable import printable
from server.cli.common import CommandFailed, open_reader, print_bytes, say
from server.cli.exit_codes import MISTAKE
from server.cli.progress import Progress
from server.observe.event_query import BadQuery
from server.observe.events import COLUMNS, as_csv, as_lines, cells, page_of
from server.observe.receipts import Value
from storage.frozen import frozen
from storage.read.query import EventQuery
from storage.read.reader import Reader

EVENTS_SHOWN = 100
"""If nobody says how many."""

SORTED_EVENTS_MAX = 100_000
"""Of the newest events that are to be shown the oldest first: they are in memory until the last is found."""

TABLE_COLUMNS = ("number", "received_at", "source_config_id", "event_type", "outcome", "inbound_event_id")
TABLE_HEAD = ("NUMBER", "RECEIVED", "SOURCE", "TYPE", "OUTCOME", "ID")
FORMATS = ("table", "ndjson", "csv")


@frozen
class Listing:
    """How events are shown."""

    format: str | None = None
    """One of FORMATS; None: a table on a terminal, else JSON lines."""
    last: int | None = None
    """The newest so many; None: EVENTS_SHOWN."""
    is_whole: bool = False
    """All of them, however many."""
    payloads: bool = False


def described(make: Callable[[int], EventQuery]) -> EventQuery:
    """Return the query that `make` gives for the present time. Raises CommandFailed."""
    try:
        return make(wall_ms())
    except BadQuery as error:
        raise CommandFailed(MISTAKE, str(error)) from None


def list_events(config: Path, query: EventQuery, listing: Listing) -> int:
    """Print the events that a query describes; return the exit code."""
    limit = None if listing.is_whole else listing.last or EVENTS_SHOWN
    is_sorted = query.oldest_first and listing.last is not None
    if is_sorted and (limit is None or limit > SORTED_EVENTS_MAX):
        raise CommandFailed(MISTAKE, f"at most the last {SORTED_EVENTS_MAX} events can be shown the oldest first")
    show = printer(listing.format, payloads=listing.payloads)
    with open_reader(config) as reader:
        asked = _with(query, limit, oldest_first=query.oldest_first and not is_sorted)
        pages = _pages(reader, asked, listing)
        for page in [_sorted(pages)] if is_sorted else pages:
            show(page)
    return 0


def _with(query: EventQuery, limit: int | None, *, oldest_first: bool) -> EventQuery:
    return replace(query, limit=limit, oldest_first=oldest_first)


def _sorted(pages: Iterator[Sequence[Value]]) -> Sequence[Value]:
    return [value for page in pages for value in page][::-1]


def _pages(reader: Reader, query: EventQuery | None, listing: Listing) -> Iterator[Sequence[Value]]:
    looked = 0
    last: EventQuery | None = query
    try:
        with Progress("events looked at") as progress:
            while query is not None:
                last = query
                values, page = page_of(reader, query, payloads=listing.payloads)
                looked += page.looked
                query = page.following
                if values:
                    progress.clear()
                    yield values
                progress.update(looked)
    except KeyboardInterrupt:
        if last is not None:
            say(f"stopped; to go on: {going_on(last)}")
        raise


def going_on(query: EventQuery) -> str:
    """Return the option that makes a listing go on where this query does."""
    return f"--after {query.after}" if query.oldest_first else f"--before {query.before}"


def printer(form: str | None, *, payloads: bool) -> Callable[[Sequence[Value]], None]:
    """Return what prints values in this format, with a head where the format has one."""
    form = form or ("table" if sys.stdout.isatty() else "ndjson")
    if form == "ndjson":
        return lambda values: print_bytes(as_lines(values))
    if form == "csv":
        columns = [*COLUMNS, "payload"] if payloads else COLUMNS
        print_bytes(as_csv([columns]))
        return lambda values: print_bytes(as_csv([cells(value, columns) for value in values]))
    return _Table()


class _Table:
    """Prints pages below each other, with one head, and columns that only grow wider."""

    def __init__(self) -> None:
        self._widths = [0] * len(TABLE_COLUMNS)
        self._has_head = False

    def __call__(self, values: Sequence[Value]) -> None:
        rows = [[printable(str(value[column])) for column in TABLE_COLUMNS] for value in values]
        if not self._has_head:
            rows.insert(0, list(TABLE_HEAD))
            self._has_head = True
        for row in rows:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, self._widths, strict=True)) for row in rows]
        print_bytes("".join(f"{line.rstrip()}\n" for line in lines).encode())
