"""`verify`: checks every checksum of the store, and the accounting identity; or an export against its store."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from server.cli.exit_codes import ERROR, MISTAKE
from server.cli.export_check import ExportReport, check_export
from server.cli.export_manifest import read_manifest
from server.cli.failure import CommandFailed, say
from server.cli.output import GREEN, RED, is_table, paint, print_bytes, print_record
from server.cli.progress import Progress
from server.cli.reading import open_store, store_path
from server.cli.source_counts import print_counts
from server.intake.events import rfc3339
from storage.check.verify import Report, verify

GOES_ON = "the server goes on with it, a stopped one at its next start"


def run(
    config: Path | None, store: Path | None, export: Path | None, manifest: Path | None, *, shape: str | None
) -> int:
    """Check a store: that of the configuration, or the one in the directory `store`; or a file that was exported from
    it."""
    if export is None and manifest is not None:
        raise CommandFailed(MISTAKE, "--manifest is of an --export")
    if export is not None:
        said = read_manifest(export, manifest)
        with open_store(config, store) as opened:
            exported = check_export(export, said, opened)
        if exported.forgotten:
            held = f"has what was forgotten after it was made (events: {exported.forgotten})"
            say(f"{export} {held}: remove it, or make it anew")
        return _told(exported, asdict(exported), shape)
    with Progress("events read") as progress:
        report = verify(store_path(config, store), lambda database, number: progress.update(number, database))
    found = asdict(report)
    since_ms = found.pop("erasure_since_ms")
    found["erasure_since"] = rfc3339(since_ms) if since_ms else None
    if since_ms:
        say(f"what was forgotten at {found['erasure_since']} is not overwritten in its files yet: {GOES_ON}")
    if not is_table(shape):
        return _told(report, found, shape)
    _complain(report)
    print_counts(report.sources)
    gap = "\n" if report.sources else ""
    print_bytes(f"{gap}{paint(_sentence(report), GREEN if report.ok else RED)}\n".encode())
    return 0 if report.ok else ERROR


def _sentence(report: Report) -> str:
    """Return in plain words whether the store is sound."""
    if report.ok:
        held = f"{_count(report.events, 'event')} and {_count(report.deliveries, 'delivery', 'deliveries')}"
        return f"The store is sound: {held} were read, every record is right, and the counts add up."
    found = _count(len(report.problems) + report.problems_left_out, "problem")
    named = f"the first {len(report.problems)} are named" if report.problems_left_out else "named"
    return f"The store is not sound: {found}, {named} above."


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _told(report: Report | ExportReport, found: Mapping[str, object], shape: str | None) -> int:
    _complain(report)
    print_record({"ok": report.ok, **found}, shape)
    return 0 if report.ok else ERROR


def _complain(report: Report | ExportReport) -> None:
    for problem in report.problems:
        say(problem)
