"""`serve`: the server itself."""

import argparse

from server.cli.common import CommandFailed, Subparsers, new_command
from server.cli.exit_codes import MISTAKE


def add(commands: Subparsers) -> None:
    parser = new_command(
        commands,
        "serve",
        "take deliveries and process them, until a signal ends it",
        "SIGTERM, SIGINT and the end of its terminal drain and exit 0; a second signal exits 1 at once. SIGHUP reloads "
        "sources and secrets.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from server.flow.processor import ProcessorError  # noqa: PLC0415 - the other commands start faster without these
    from server.runtime.process import serve  # noqa: PLC0415

    try:
        return serve(arguments.config)
    except ProcessorError as error:
        raise CommandFailed(MISTAKE, str(error)) from None
