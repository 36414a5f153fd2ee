"""`receipt`, `event`, `delivery`, `dead`: records of the store as JSON, whether its server runs or not."""

from pathlib import Path

from server.base.json_text import json_text
from server.cli.exit_codes import ERROR
from server.cli.failure import CommandFailed
from server.cli.output import RED, Column, print_bytes, print_json, print_rows
from server.cli.reading import open_reader
from server.config.load import source_ids
from server.observe import receipts
from storage.read.reader import Reader

DEAD_COLUMNS = (
    Column("SOURCE", "source_config_id"),
    Column("EVENT", "inbound_event_id"),
    Column("TYPE", "event_type"),
    Column("ATTEMPTS", "attempts", is_number=True),
    Column("DEAD SINCE", "finished_at"),
    Column("ERROR", "error", style=lambda _: RED),
)


def run_receipt(config: Path, source: str, event_id: str, *, every: bool) -> int:
    with open_reader(config) as reader:
        if every:
            return _print_all(config, source, event_id, reader)
        found = receipts.receipt(reader, source, event_id)
        if found is None:
            raise _no_event(config, source, event_id, reader)
    print_json(found)
    return 0 if "outcome" in found else ERROR


def _print_all(config: Path, source: str, event_id: str, reader: Reader) -> int:
    """Print a JSON list, one receipt per line, as it is read: an id may have a million receipts."""
    code, between = ERROR, b"[\n"
    for receipt in receipts.receipts(reader, source, event_id):
        print_bytes(between + json_text(receipt))
        between = b",\n"
        if "outcome" in receipt:
            code = 0
    if between == b"[\n":
        raise _no_event(config, source, event_id, reader)
    print_bytes(b"\n]\n")
    return code


def run_event(config: Path, source: str, event_id: str) -> int:
    with open_reader(config) as reader:
        try:
            found = receipts.event(reader, source, event_id)
        except receipts.BodyNotKept as error:
            raise CommandFailed(ERROR, str(error)) from None
        except receipts.Expired as error:
            return _print_expired(error)
        if found is None:
            raise _no_event(config, source, event_id, reader)
    print_json(found)
    return 0


def run_delivery(config: Path, delivery: str) -> int:
    with open_reader(config) as reader:
        try:
            found = receipts.delivery(reader, delivery)
        except receipts.Expired as error:
            return _print_expired(error)
    if found is None:
        raise CommandFailed(ERROR, f"there is no delivery {delivery!r}")
    print_json(found)
    return 0


def _print_expired(error: receipts.Expired) -> int:
    print_json(error.report())
    return ERROR


def run_dead(config: Path, source: str | None, shape: str | None) -> int:
    with open_reader(config) as reader:
        if source is not None and not _is_known(config, source, reader):
            raise _no_source(source)
        print_rows(receipts.dead(reader, source), DEAD_COLUMNS, shape)
    return 0


def _no_event(config: Path, source: str, event_id: str, reader: Reader) -> CommandFailed:
    """Return the failure for an unknown event; for an unknown source instead if that may be mistyped."""
    if not _is_known(config, source, reader):
        return _no_source(source)
    return CommandFailed(ERROR, f"there is no event {event_id!r} of source {source!r}")


def _no_source(source: str) -> CommandFailed:
    return CommandFailed(ERROR, f"neither the configuration nor the store has a source {source!r}")


def _is_known(config: Path, source: str, reader: Reader) -> bool:
    """Return whether the source is configured or has events in the store."""
    return source in (*source_ids(config), *reader.totals())
