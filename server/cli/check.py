"""`check`: is this configuration valid, and what may it use?"""

import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from server.base.printable import one_line, printable
from server.base.source import Source
from server.cli.description import describe
from server.cli.exit_codes import MISTAKE
from server.cli.failure import CommandFailed, say
from server.cli.output import print_bytes
from server.config.load import ConfigError, absolute, load
from server.flow.names import hidden_modules
from server.flow.processor import ProcessorError
from server.flow.processor import load as load_processor
from server.flow.runner import Function
from server.runtime.cautions import cautions
from storage.lmdb_store.place import unusable


def run(config: Path) -> int:
    path = absolute(config)
    directory = path.parent
    try:
        found = load(path)
    except ConfigError as error:
        _, mistakes = processors(error.sources, directory)
        raise CommandFailed(MISTAKE, *error.mistakes, *mistakes) from None
    if any(source.processor for source in found.sources.values()):
        for words in hidden_modules(directory):
            say(f"warning: {words}")
    functions, mistakes = processors(found.sources, directory)
    mistakes += _store_mistakes(found.storage.path)
    if mistakes:
        raise CommandFailed(MISTAKE, *mistakes)
    for words in cautions(found.sources, functions):
        say(f"warning: {words}")
    print_bytes("\n".join(map(printable, describe(found).splitlines())).encode() + b"\n")
    return 0


def processors(sources: Mapping[str, Source], directory: Path) -> tuple[dict[str, Function], list[str]]:
    """Return the processors that can be loaded, by source, and why the others cannot."""
    functions: dict[str, Function] = {}
    mistakes = []
    for source in sources.values():
        try:
            if source.processor:
                with redirect_stdout(sys.stderr), redirect_stderr(sys.stderr):  # what a module prints is not our output
                    functions[source.id] = load_processor(source.processor, directory)
        except ProcessorError as error:
            mistakes.append(f"sources.{source.id}.processor: {one_line(str(error))}")
    return functions, mistakes


def _store_mistakes(path: Path) -> list[str]:
    words = unusable(path)
    return [] if words is None else [f"storage.path: {words}"]
