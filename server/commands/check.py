"""`check`: is this configuration good, and what may it take?"""

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

from server.check import describe
from server.commands.common import MISTAKE, CommandFailed, Subparsers, new_command, print_bytes
from server.config import ConfigError, load
from server.flow.processor import ProcessorError
from server.flow.processor import load as load_processor
from server.source import Source


def add(commands: Subparsers) -> None:
    parser = new_command(
        commands,
        "check",
        "validate the configuration; print its sources and the capacity plan",
        "Imports every processor. Exits 2 with one line for each mistake.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    directory = Path(os.path.abspath(arguments.config)).parent  # noqa: PTH100 - as the configuration is read
    try:
        config = load(arguments.config)
    except ConfigError as error:
        raise CommandFailed(MISTAKE, *error.mistakes, *_processor_mistakes(error.sources, directory)) from None
    mistakes = _processor_mistakes(config.sources, directory)
    if mistakes:
        raise CommandFailed(MISTAKE, *mistakes)
    print_bytes(describe(config).encode() + b"\n")
    return 0


def _processor_mistakes(sources: Mapping[str, Source], directory: Path) -> list[str]:
    mistakes = []
    for source in sources.values():
        try:
            if source.processor:
                with redirect_stdout(sys.stderr):  # what a module prints when it is imported is not our output
                    load_processor(source.processor, directory)
        except ProcessorError as error:
            mistakes.append(f"sources.{source.id}.processor: {' '.join(str(error).split())}")
    return mistakes
