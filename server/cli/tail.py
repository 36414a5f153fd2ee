"""`tail`: the newest events, and with `-f` what comes, as it comes. It reads the store, and asks no server."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from server.base.printable import printable
from server.cli.events import before_newest, check_reached, described
from server.cli.exit_codes import INTERRUPTED, MISTAKE
from server.cli.failure import CommandFailed, say
from server.cli.interrupt import Interruptible
from server.cli.known_source import check_known
from server.cli.output import is_read, is_table, print_bytes
from server.cli.reading import open_reader
from server.observe.events import as_lines, page_of
from server.observe.receipts import Value
from storage.read.query import EventQuery
from storage.read.reader import Reader

EVENTS_SHOWN = 10
"""Of those that are there, if nobody says how many."""

POLL_SECONDS = 0.25
"""Between two looks at what has come."""


def run(
    config: Path,
    *,
    source: str | None,
    follow: bool,
    last: int | None,
    after: int | None,
    payload: bool,
    shape: str | None,
    **asked: Any,
) -> int:
    """Print the newest events, or those after a number; with `follow`, all that come until Ctrl-C."""
    if after is not None and last is not None:
        raise CommandFailed(MISTAKE, "where it begins is said by --last or --after; not both")
    query = described(source=source, limit=EVENTS_SHOWN if last is None else last, **asked)
    show = _print_table if is_table(shape) else _print_lines
    with open_reader(config) as reader, Interruptible() as interrupt:
        check_known(config, source, reader)
        end = reader.end()
        if after is None:
            after = before_newest(reader, query, end, interrupt)
        else:
            check_reached(reader, after)
        tail = Tail(reader, replace(query, after=after, limit=None), interrupt, payloads=payload)
        tail.show_before(end, show)
        while follow and not interrupt.is_interrupted:
            interrupt.wait(POLL_SECONDS)
            if not is_read() and not interrupt.is_interrupted:  # Ctrl-C ends a reader in the same pipeline too
                raise BrokenPipeError
            tail.show_before(reader.end(), show)
    if interrupt.is_interrupted:
        say(f"stopped: to go on, say --after {tail.after}")
    return INTERRUPTED if interrupt.is_interrupted else 0


class Tail:
    """Reads what comes, by number: nothing twice, and no gap."""

    def __init__(self, reader: Reader, query: EventQuery, interrupt: Interruptible, *, payloads: bool) -> None:
        self._reader = reader
        self._interrupt = interrupt
        self._query = query
        self._payloads = payloads
        self.after = query.after
        """The number up to which all is shown."""

    def show_before(self, end: int, show: Callable[[Iterable[Value]], None]) -> None:
        """Show all that has come before this number."""
        query: EventQuery | None = replace(self._query, after=self.after, before=end, oldest_first=True)
        while query is not None and self.after < end - 1 and not self._interrupt.is_interrupted:
            values, page = page_of(self._reader, query, payloads=self._payloads)
            show(values)
            query = page.following
            self.after = end - 1 if query is None else query.after


def _print_lines(values: Iterable[Value]) -> None:
    print_bytes(as_lines(values))
    sys.stdout.buffer.flush()


def _print_table(values: Iterable[Value]) -> None:
    """Print a line for each, in columns that do not wait for what comes."""
    print_bytes(b"".join(_line(value) for value in values))
    sys.stdout.buffer.flush()


def _line(value: Value) -> bytes:
    texts = [printable(str(value[key])) for key in ("source_config_id", "event_type", "outcome", "inbound_event_id")]
    source, kind, outcome, event_id = texts
    found = f"{value['number']:>10}  {value['received_at']}  {source:<16}  {kind:<20}  {outcome:<9}  {event_id}"
    payload = f"  {printable(as_lines([value['payload']]).decode().rstrip())}" if "payload" in value else ""
    return f"{found}{payload}\n".encode()
