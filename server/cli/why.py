"""`why`: the last refused requests of a source, and why each was refused, whether the server runs or not."""

from collections.abc import Iterator
from pathlib import Path

from server.base.printable import printable
from server.cli.exit_codes import ERROR
from server.cli.failure import CommandFailed, say
from server.cli.known_source import with_probable
from server.cli.output import is_table, print_bytes, print_rows
from server.config.load import StorageConfig, load_section, source_ids
from server.observe.refusals import REFUSALS_MAX, Value, describe
from storage.refusals.ring_file import read


def run(config: Path, source: str, limit: int | None, shape: str | None) -> int:
    found = read(load_section(config, StorageConfig).path, source, limit or REFUSALS_MAX)
    if not found and source not in source_ids(config):
        words = f"the configuration has no source {source!r}, and no refusal of it is on record"
        raise CommandFailed(ERROR, with_probable(words, source, source_ids(config)))
    if not found:
        say(f"no refused request of source {source!r} is on record")
    values = map(describe, found)
    if not is_table(shape):
        print_rows(values, (), shape)
    else:
        for value in values:
            print_bytes("\n".join(_lines(value)).encode() + b"\n\n")
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
        shown = found["body"] if "body" in found else f"base64 {found['body_base64']}"
        yield f"  body, {found['body_bytes']} bytes: {shown or 'not on record'}"
    if value["suppressed"]:
        yield f"  and {found['suppressed']} before it that are not on record"
