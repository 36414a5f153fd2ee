"""`verify`: checks every checksum of the store, and the accounting identity."""

from dataclasses import asdict
from pathlib import Path

from server.cli.exit_codes import ERROR
from server.cli.failure import say
from server.cli.output import print_json
from server.cli.progress import Progress
from server.config.load import StorageConfig, load_section
from storage.check.verify import verify


def run(config: Path) -> int:
    path = load_section(config, StorageConfig).path
    with Progress("events read") as progress:
        report = verify(path, lambda database, number: progress.update(number, database))
    for problem in report.problems:
        say(problem)
    print_json({"ok": report.ok} | asdict(report))
    return 0 if report.ok else ERROR
