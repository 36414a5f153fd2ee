"""`why`: the last refused requests of a source, and why each was refused, whether the server runs or not."""

import argparse
import sys
from collections.abc import Iterator

from server.base.json_text import json_text
from server.base.printable import printable
from server.cli.common import CommandFailed, Subparsers, new_command, positive, print_bytes, say, utf8
from server.cli.exit_codes import ERROR
from server.config.load import StorageConfig, load_section, source_ids
from server.observe.refusals import REFUSALS_MAX, Value, describe
from storage.refusals.ring_file import read


def add(commands: Subparsers) -> None:
    parser = new_command(
        commands,
        "why",
        "say why requests of a source were refused, the newest first",
        "As JSON lines, or as text on a terminal. Exits 1 if neither the configuration nor the record knows SOURCE.",
    )
    parser.add_argument("source", type=utf8, metavar="SOURCE", help="the id of the source")
    parser.add_argument("--limit", type=positive, default=REFUSALS_MAX, metavar="N", help="at most so many")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    source_id = arguments.source
    found = read(load_section(arguments.config, StorageConfig).path, source_id, arguments.limit)
    if not found and source_id not in source_ids(arguments.config):
        raise CommandFailed(ERROR, f"the configuration has no source {source_id!r}, and no refusal of it is on record")
    if not found:
        say(f"no refused request of source {source_id!r} is on record")
    is_terminal = sys.stdout.isatty()
    for record in found:
        value = describe(record)
        print_bytes("\n".join(_lines(value)).encode() + b"\n\n" if is_terminal else json_text(value) + b"\n")
    return 0


def _lines(value: Value) -> Iterator[str]:
    """Yield a record as text for people, with control characters escaped."""
    found = {name: printable(str(each)) for name, each in value.items()}
    yield f"{found['refused_at']}  {found['status']} {found['code']}  from {found['remote_addr']} ({found['sender']})"
    yield f"  {found['why']}"
    yield f"  {found['method']} {found['path']}"
    headers = value["headers"]
    if isinstance(headers, dict):
        yield from (f"    {printable(name)}: {printable(each)}" for name, each in headers.items())
    if value.get("body_bytes"):
        shown = found.get("body") or f"base64 {found['body_base64']}"
        yield f"  body, {found['body_bytes']} bytes: {shown}"
    if value["suppressed"]:
        yield f"  and {found['suppressed']} before it that are not on record"
