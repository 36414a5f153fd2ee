"""`receipt`, `event`, `delivery`, `dead`: records of the store, whether its server runs or not."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from urllib.parse import urlencode

from server.cli.client import AdminClient
from server.cli.exit_codes import ERROR
from server.cli.failure import CommandFailed, say
from server.cli.known_source import check_known
from server.cli.output import (
    GREEN,
    PLAIN,
    RED,
    YELLOW,
    Column,
    Row,
    is_table,
    print_bytes,
    print_json,
    print_record,
    print_rows,
)
from server.cli.reading import open_reader
from server.config.toml_text import ConfigError
from server.observe import receipts
from storage.history import DIED
from storage.read.reader import Reader

STYLES = {"processed": GREEN, "dead": RED, "dropped": YELLOW}
"""Of outcomes, on a terminal."""

OUTCOME = Column(
    "OUTCOME",
    lambda row: row.get("outcome", "pending"),
    style=lambda row: STYLES.get(row.get("outcome", "pending"), PLAIN),
)

ATTEMPTS = Column("ATTEMPTS", "attempts", is_number=True)


def _more(row: Row) -> str | None:
    """Return why it is dead, of which delivery it is a duplicate, or which event it is once more."""
    if "duplicate_of" in row:
        return f"of {row['duplicate_of']}"
    replay = f"replay of {row['replay_of']}" if "replay_of" in row else None
    return ": ".join(filter(None, [replay, row.get("error")])) or None


MORE = Column("", _more)

RECEIPT_COLUMNS = (
    OUTCOME,
    Column("RECEIVED", "received_at"),
    Column("FINISHED", "finished_at"),
    ATTEMPTS,
    Column("DELIVERY", "delivery"),
    Column("ITEM", "batch_index", is_number=True),
    MORE,
)

ITEM_COLUMNS = (
    Column("ITEM", "batch_index", is_number=True),
    OUTCOME,
    Column("FINISHED", "finished_at"),
    ATTEMPTS,
    Column("EVENT", "inbound_event_id"),
    MORE,
)

HISTORY_COLUMNS = (
    Column("WHEN", "at"),
    Column("WHAT", "change", style=lambda row: STYLES["dead"] if row["change"] == DIED else PLAIN),
    ATTEMPTS,
    Column("ERROR", "error"),
)

DEAD_COLUMNS = (
    Column("SOURCE", "source_config_id"),
    Column("EVENT", "inbound_event_id"),
    Column("TYPE", "event_type"),
    ATTEMPTS,
    Column("DEAD SINCE", "finished_at"),
    Column("ERROR", "error", style=lambda _: RED),
)
KIND_COLUMNS = (
    Column("SOURCE", "source_config_id"),
    Column("KIND", "kind", style=lambda _: RED),
    Column("EVENTS", "events", is_number=True),
    Column("FIRST DIED", "first_died_at"),
    Column("LAST DIED", "last_died_at"),
)

ASKED_SECONDS_MAX = 2
"""The longest that the server may take to say why an event waits: what the store says goes too."""


def run_receipt(config: Path, source: str, event_id: str, *, every: bool, shape: str | None) -> int:
    with open_reader(config) as reader:
        if every:
            return _print_all(config, source, event_id, reader, shape)
        found = receipts.receipt(reader, source, event_id)
        if found is None:
            raise _no_event(config, source, event_id, reader)
    if "outcome" not in found:
        found = _as_the_server_knows(config, source, event_id) or found
    _print_with_rows(found, "history", HISTORY_COLUMNS, shape)
    return 0 if "outcome" in found else ERROR


def _as_the_server_knows(config: Path, source: str, event_id: str) -> receipts.Value | None:
    """Return what the running server says of a pending event: why it waits, and until when; None if nobody says it."""
    path = f"/receipts/{source}?{urlencode({'event_id': event_id})}"
    with suppress(CommandFailed, ConfigError), AdminClient(config, ASKED_SECONDS_MAX) as client:
        return dict(client.get(path, ("inbound_event_id",)))
    return None


def _print_all(config: Path, source: str, event_id: str, reader: Reader, shape: str | None) -> int:
    """Print every receipt as it is read: an id may have a million. As JSON they are one list."""
    found = iter(receipts.receipts(reader, source, event_id))
    first = next(found, None)
    if first is None:
        raise _no_event(config, source, event_id, reader)
    code = ERROR

    def noted() -> Iterator[Row]:
        nonlocal code
        for receipt in chain([first], found):
            code = 0 if "outcome" in receipt else code
            yield receipt

    print_rows(noted(), RECEIPT_COLUMNS, shape or ("table" if is_table(None) else "json"))
    return code


def run_event(config: Path, source: str, event_id: str, shape: str | None) -> int:
    with open_reader(config) as reader:
        try:
            found = receipts.event(reader, source, event_id)
        except receipts.BodyNotKept as error:
            raise CommandFailed(ERROR, str(error)) from None
        except (receipts.Expired, receipts.BodyForgotten) as error:
            return _print_gone(error)
        if found is None:
            raise _no_event(config, source, event_id, reader)
    print_record(found, shape or "json")  # a payload reads better so, on a terminal too
    return 0


def run_delivery(config: Path, delivery: str, shape: str | None) -> int:
    with open_reader(config) as reader:
        try:
            found = receipts.delivery(reader, delivery)
        except receipts.Expired as error:
            return _print_gone(error)
    if found is None:
        raise CommandFailed(ERROR, f"there is no delivery {delivery!r}")
    _print_with_rows(found, "items", ITEM_COLUMNS, shape)
    return 0


def _print_with_rows(record: Row, key: str, columns: Sequence[Column], shape: str | None) -> None:
    """Print a record; for people the list that it has under this key, if any, is a table below it."""
    rows = record.get(key)
    if not (is_table(shape) and isinstance(rows, list)):
        print_record(record, shape)
        return
    print_record({name: value for name, value in record.items() if name != key}, shape)
    print_bytes(b"\n")
    print_rows(rows, columns, shape)


def _print_gone(error: receipts.Expired | receipts.BodyForgotten) -> int:
    print_json(error.report())
    return ERROR


def run_dead(config: Path, source: str | None, group: str | None, shape: str | None) -> int:
    with open_reader(config) as reader:
        check_known(config, source, reader)
        if group is not None:
            print_rows(receipts.dead_kinds(reader, source), KIND_COLUMNS, shape)
        elif not print_rows(receipts.dead(reader, source), DEAD_COLUMNS, shape):
            say("there are no dead events" if source is None else f"there are no dead events of source {source!r}")
    return 0


def _no_event(config: Path, source: str, event_id: str, reader: Reader) -> CommandFailed:
    """Return the failure for an unknown event. Raises that for an unknown source, which may be mistyped."""
    check_known(config, source, reader)
    return CommandFailed(ERROR, f"there is no event {event_id!r} of source {source!r}")
