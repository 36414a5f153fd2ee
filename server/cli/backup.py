"""`backup`: copies the whole store, beside its server, into a directory of its own."""

from pathlib import Path

from server.cli.failure import say
from server.cli.output import is_table, print_bytes, print_record
from server.cli.progress import Steps
from server.cli.source_counts import print_counts
from server.config.capacity import size
from server.config.load import StorageConfig, load_section
from storage.backup.backup import back_up


def run(config: Path, dest: Path, *, shape: str | None) -> int:
    """Make a backup, and print what is in it."""
    with Steps() as steps:
        made = back_up(load_section(config, StorageConfig).path, dest, steps.update)
    say(f"{dest} has {made.report.events:,} events, in {size(made.size)}")
    found = {
        "ok": True,
        "path": str(dest),
        "bytes": made.size,
        "last_number": made.last_number,
        "from_journal": made.recovered,
        "reads": made.reads,
        "longest_read_ms": round(1000 * made.longest_read_seconds, 1),
        "events": made.report.events,
        "deliveries": made.report.deliveries,
    }
    sources = made.report.sources
    if not is_table(shape):
        print_record({**found, "sources": sources}, shape)
        return 0
    print_record(found, shape)
    print_bytes(b"\n" if sources else b"")
    print_counts(sources)
    return 0
