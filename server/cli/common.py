"""What the commands share: arguments, failures, output, and opening the store."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from server import __version__
from server.base.json_text import json_text
from server.base.printable import printable
from server.config.load import StorageConfig, load_section
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.write.recovery import recover

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

CONFIG_VARIABLE = "TIDEGATE_CONFIG"

VERSION = f"tidegate {__version__}"


POSITIONAL_MARK = "\0"
"""Marks an argument that cannot be an option; no real argument can contain it."""


class IntermixedParser(argparse.ArgumentParser):
    """A parser that allows options among the arguments (`send SOURCE --count 2 FILE`), but not after `--`.

    argparse alone drops arguments that are themselves `--`. So all after the first one are marked, which makes them
    positional; `utf8` and `file_name` remove the mark.
    """

    _is_parsing = False
    _has_parts = False

    def add_subparsers(self, **keywords: Any) -> Any:
        self._has_parts = True
        return super().add_subparsers(**keywords)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._is_parsing:
            return super().parse_known_args(args, namespace)
        self._is_parsing = True
        try:
            found = self._parse_all(list(args), namespace)
        finally:
            self._is_parsing = False
        if getattr(found[0], "config", "") is None:  # argparse's own message would not name the environment variable
            self.error(f"say --config FILE, or name the file in the environment variable {CONFIG_VARIABLE}")
        return found

    def _parse_all(self, given: list[str], namespace: Any) -> Any:
        if self._has_parts:  # what stands where is for the parts to say
            return self.parse_known_args(given, namespace)
        at = given.index("--") if "--" in given else len(given)
        marked = given[:at] + [POSITIONAL_MARK + each for each in given[at + 1 :]]
        return self.parse_known_intermixed_args(marked, namespace)


class CommandFailed(Exception):
    """Ends the command with this exit code, and these lines on stderr."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines = lines


def new_command(
    commands: Subparsers, name: str, words: str, more: str = "", *, is_part: bool = False
) -> argparse.ArgumentParser:
    """Add a subcommand with --config, --version and --help. A part of another command leaves --config to that one,
    unless it is said behind it."""
    parser = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}. {more}")
    parser.add_argument(
        "--config",
        type=Path,
        default=argparse.SUPPRESS if is_part else os.environ.get(CONFIG_VARIABLE) or None,
        metavar="FILE",
        help=f"the configuration, in TOML; default: what the environment variable {CONFIG_VARIABLE} names",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


def utf8(text: str) -> str:
    """Return an argument decoded as UTF-8, whatever the locale. argparse reports what this raises."""
    try:
        return os.fsencode(text.removeprefix(POSITIONAL_MARK)).decode()
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError("is not UTF-8") from None


def file_name(text: str) -> Path:
    """Return an argument as a path."""
    return Path(text.removeprefix(POSITIONAL_MARK))


def positive(text: str) -> int:
    """Return an argument as an integer of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be an integer from 1 on, not {text!r}")
    return number


def print_json(value: object) -> None:
    """Print a JSON value on stdout: indented for a terminal, on one line for a program."""
    print_bytes(json_text(value, indent=sys.stdout.isatty()) + b"\n")


def print_bytes(data: bytes) -> None:
    """Print bytes on stdout, whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def say(words: str) -> None:
    """Print a line for people on stderr, with escaped control characters; nowhere if that cannot be written to."""
    try:
        sys.stderr.write(f"tidegate: {printable(words)}\n")
    except OSError:
        lead_nowhere(sys.stderr)


def lead_nowhere(stream: TextIO) -> None:
    """Lead stdout or stderr to /dev/null: Python flushes at exit what could not be written, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def open_reader(config: Path) -> Iterator[Reader]:
    """Open the store of this configuration for reading, whether its server is running or stopped."""
    path = load_section(config, StorageConfig).path
    left = recover(path)
    if left:
        say(f"{left} events are acknowledged and not in the store yet; they are in its journal, and not shown")
    store = Store.open(path, mode="read")
    try:
        yield Reader(store)
    finally:
        store.close()
