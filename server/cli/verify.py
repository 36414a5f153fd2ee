"""`verify`: checks every checksum of the store, and the accounting identity; or an export against its store."""

from dataclasses import asdict
from pathlib import Path

from server.cli.exit_codes import ERROR, MISTAKE
from server.cli.export_check import ExportReport, check_export, read_manifest
from server.cli.failure import CommandFailed, say
from server.cli.output import print_json
from server.cli.progress import Progress
from server.cli.reading import open_store, store_path
from storage.check.verify import Report, verify


def run(config: Path | None, store: Path | None, export: Path | None, manifest: Path | None) -> int:
    """Check a store: that of the configuration, or the one in the directory `store`; or a file that was exported from
    it."""
    if export is None and manifest is not None:
        raise CommandFailed(MISTAKE, "--manifest is of an --export")
    report: Report | ExportReport
    if export is not None:
        said = read_manifest(export, manifest)
        with open_store(config, store) as opened:
            report = check_export(export, said, opened)
    else:
        with Progress("events read") as progress:
            report = verify(store_path(config, store), lambda database, number: progress.update(number, database))
    for problem in report.problems:
        say(problem)
    print_json({"ok": report.ok} | asdict(report))
    return 0 if report.ok else ERROR
