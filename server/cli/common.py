"""What the commands share: how they fail, what they print where, and how they open the store."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from server import __version__
from server.base.json_text import json_text
from server.config.load import StorageConfig, load_section
from storage.lmdb_store.environment import Store
from storage.read.reader import Reader
from storage.write.recovery import recover

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

ERROR = 1
"""Exit code: it did not succeed, or there is no such thing."""
MISTAKE = 2
"""Exit code: the arguments or the configuration cannot be used."""

CONFIG_VARIABLE = "TIDEGATE_CONFIG"

VERSION = f"tidegate {__version__}"


PLAIN = "\0"
"""Marks an argument as none of our options; no real argument has it."""


class AnyOrder(argparse.ArgumentParser):
    """Options may stand among the arguments: `send SOURCE --count 2 FILE`. What follows `--` is none, whatever it is.

    argparse alone loses arguments that are `--` themselves. So those behind the first one are marked, which makes them
    plain arguments; `utf8` and `file_name` take the mark off.
    """

    _is_parsing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._is_parsing:
            return super().parse_known_args(args, namespace)
        self._is_parsing = True
        given = list(args)
        at = given.index("--") if "--" in given else len(given)
        marked = given[:at] + [PLAIN + each for each in given[at + 1 :]]
        try:
            found = self.parse_known_intermixed_args(marked, namespace)
        finally:
            self._is_parsing = False
        if found[0].config is None:  # argparse's own words for a missing option would not say the other way
            self.error(f"say --config FILE, or name the file in the environment variable {CONFIG_VARIABLE}")
        return found


class CommandFailed(Exception):
    """The command ends with this exit code, and these lines on stderr."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines = lines


def new_command(commands: Subparsers, name: str, words: str, more: str = "") -> argparse.ArgumentParser:
    """A subcommand with --config, --version and --help."""
    parser = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}. {more}")
    parser.add_argument(
        "--config",
        type=Path,
        default=os.environ.get(CONFIG_VARIABLE) or None,
        metavar="FILE",
        help=f"the configuration, in TOML; default: what the environment variable {CONFIG_VARIABLE} names",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    return parser


def utf8(text: str) -> str:
    """An argument as its sender meant it, whatever the locale. argparse reports what it raises."""
    try:
        return os.fsencode(text.removeprefix(PLAIN)).decode()
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError("is not UTF-8") from None


def file_name(text: str) -> Path:
    """An argument as a path."""
    return Path(text.removeprefix(PLAIN))


def positive(text: str) -> int:
    """An integer from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be an integer from 1 on, not {text!r}")
    return number


def print_json(value: object) -> None:
    """One JSON value on stdout: indented for a terminal, on one line for a program."""
    print_bytes(json_text(value, indent=sys.stdout.isatty()) + b"\n")


def print_bytes(data: bytes) -> None:
    """Bytes on stdout, whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def say(words: str) -> None:
    """A line for people, on stderr. What could drive a terminal is escaped."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in words)
    sys.stderr.write(f"tidegate: {shown}\n")


@contextmanager
def open_reader(config: Path) -> Iterator[Reader]:
    """Reads the store of this configuration: beside a running server, or on a stopped one."""
    path = load_section(config, StorageConfig).path
    left = recover(path)
    if left:
        say(f"{left} events are acknowledged and not in the store yet; they are in its journal, and not shown")
    store = Store.open(path, mode="read")
    try:
        yield Reader(store)
    finally:
        store.close()
