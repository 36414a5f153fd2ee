"""`receipt`, `event`, `delivery`, `dead`: records of the store as JSON, whether its server runs or not."""

import argparse

from server.base.json_text import json_text
from server.cli.common import (
    CommandFailed,
    Subparsers,
    new_command,
    open_reader,
    print_bytes,
    print_json,
    utf8,
)
from server.cli.exit_codes import ERROR
from server.config.load import source_ids
from server.observe import receipts
from storage.read.reader import Reader

NONE = 'Exits 1 if there is none, with {"code":"expired",…} on stdout if it has left by retention. '
AFTER_DASHES = "An id that starts with - goes after --."


def add(commands: Subparsers) -> None:
    parser = new_command(
        commands,
        "receipt",
        "print what became of an event",
        "Of the processed event of this id, else of the newest. Exits 1 if there is no receipt, with "
        '{"pending":true,…} on stdout if the event is known and has no outcome yet. ' + AFTER_DASHES,
    )
    _add_event(parser)
    parser.add_argument("--all", action="store_true", help="a list of every one of this id, the newest first")
    parser.set_defaults(run=run_receipt)
    parser = new_command(commands, "event", "print a normalised event", NONE + AFTER_DASHES)
    _add_event(parser)
    parser.set_defaults(run=run_event)
    parser = new_command(
        commands,
        "delivery",
        "print a delivery: when it came, from where, and what became of each of its items",
        NONE,
    )
    parser.add_argument("delivery", type=utf8, metavar="DELIVERY", help="its id, as the answer and receipts have it")
    parser.set_defaults(run=run_delivery)
    parser = new_command(
        commands,
        "dead",
        "list dead events with their last error, as JSON lines",
        "Exits 1 if neither the configuration nor the store knows SOURCE.",
    )
    parser.add_argument("source", nargs="?", type=utf8, metavar="SOURCE", help="of this source only")
    parser.set_defaults(run=run_dead)


def _add_event(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=utf8, metavar="SOURCE", help="the id of the source")
    parser.add_argument("event_id", type=utf8, metavar="EVENT_ID", help="the inbound_event_id")


def run_receipt(arguments: argparse.Namespace) -> int:
    with open_reader(arguments.config) as reader:
        if arguments.all:
            return _print_all(arguments, reader)
        found = receipts.receipt(reader, arguments.source, arguments.event_id)
        if found is None:
            raise _no_event(arguments, reader)
    print_json(found)
    return 0 if "outcome" in found else ERROR


def _print_all(arguments: argparse.Namespace, reader: Reader) -> int:
    """Print a JSON list, one receipt per line, as it is read: an id may have a million receipts."""
    code, between = ERROR, b"[\n"
    for receipt in receipts.receipts(reader, arguments.source, arguments.event_id):
        print_bytes(between + json_text(receipt))
        between = b",\n"
        if "outcome" in receipt:
            code = 0
    if between == b"[\n":
        raise _no_event(arguments, reader)
    print_bytes(b"\n]\n")
    return code


def run_event(arguments: argparse.Namespace) -> int:
    with open_reader(arguments.config) as reader:
        try:
            found = receipts.event(reader, arguments.source, arguments.event_id)
        except receipts.BodyNotKept as error:
            raise CommandFailed(ERROR, str(error)) from None
        except receipts.Expired as error:
            return _print_expired(error)
        if found is None:
            raise _no_event(arguments, reader)
    print_json(found)
    return 0


def run_delivery(arguments: argparse.Namespace) -> int:
    with open_reader(arguments.config) as reader:
        try:
            found = receipts.delivery(reader, arguments.delivery)
        except receipts.Expired as error:
            return _print_expired(error)
    if found is None:
        raise CommandFailed(ERROR, f"there is no delivery {arguments.delivery!r}")
    print_json(found)
    return 0


def _print_expired(error: receipts.Expired) -> int:
    print_json(error.report())
    return ERROR


def run_dead(arguments: argparse.Namespace) -> int:
    source_id = arguments.source
    with open_reader(arguments.config) as reader:
        if source_id is not None and not _is_known(arguments, reader):
            raise _no_source(arguments)
        for value in receipts.dead(reader, source_id):
            print_bytes(json_text(value) + b"\n")
    return 0


def _no_event(arguments: argparse.Namespace, reader: Reader) -> CommandFailed:
    """Return the failure for an unknown event; for an unknown source instead if that may be mistyped."""
    if not _is_known(arguments, reader):
        return _no_source(arguments)
    return CommandFailed(ERROR, f"there is no event {arguments.event_id!r} of source {arguments.source!r}")


def _no_source(arguments: argparse.Namespace) -> CommandFailed:
    return CommandFailed(ERROR, f"neither the configuration nor the store has a source {arguments.source!r}")


def _is_known(arguments: argparse.Namespace, reader: Reader) -> bool:
    """Return whether the source is configured or has events in the store."""
    return arguments.source in (*source_ids(arguments.config), *reader.totals())
