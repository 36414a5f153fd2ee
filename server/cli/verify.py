"""`verify`: checks every checksum of the store, and the accounting identity."""

from dataclasses import asdict
from pathlib import Path

from server.cli.exit_codes import ERROR
from server.cli.failure import say
from server.cli.output import print_json
from server.cli.progress import Progress
from server.config.load import StorageConfig, load_section
from storage.check.verify import verify


def run(config: Path | None, store: Path | None) -> int:
    """Check a store: that of the configuration, or the one in the directory `store`."""
    path = store or _configured(config)
    with Progress("events read") as progress:
        report = verify(path, lambda database, number: progress.update(number, database))
    for problem in report.problems:
        say(problem)
    print_json({"ok": report.ok} | asdict(report))
    return 0 if report.ok else ERROR


def _configured(config: Path | None) -> Path:
    assert config is not None  # it is there where no directory is named
    return load_section(config, StorageConfig).path
