"""`verify`: checks every checksum of the store, and the accounting identity."""

import argparse
from dataclasses import asdict

from server.cli.common import Subparsers, new_command, print_json, say
from server.cli.exit_codes import ERROR
from server.cli.progress import Progress
from server.config.load import StorageConfig, load_section
from storage.check.verify import verify


def add(commands: Subparsers) -> None:
    parser = new_command(
        commands,
        "verify",
        "check the whole store: every record, and that every event is accounted for",
        "Works beside a running server, on a stopped one, and on a copy. Exits 1 and says what is wrong.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    path = load_section(arguments.config, StorageConfig).path
    with Progress("events read") as progress:
        report = verify(path, lambda database, number: progress.update(number, database))
    for problem in report.problems:
        say(problem)
    print_json({"ok": report.ok} | asdict(report))
    return 0 if report.ok else ERROR
