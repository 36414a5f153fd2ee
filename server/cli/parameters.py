"""Arguments and options, as the declarations of commands name them, and the options that every command has."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from server import __version__
from server.cli.failure import CommandFailed
from server.cli.finding import find
from server.cli.invocation import Invocation

VERSION = f"tidegate {__version__}"

FORMATS = ("table", "json", "ndjson")

POSITIONAL_MARK = "\0"
"""Marks an argument that cannot be an option; no real argument can contain it."""

_NUMBER = re.compile(r"-\d+|-\d*\.\d+")


class Text(click.ParamType[str, str]):
    """An argument decoded as UTF-8, whatever the locale."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return os.fsencode(value.removeprefix(POSITIONAL_MARK)).decode()
        except UnicodeDecodeError:
            self.fail("is not UTF-8", param, ctx)


class FileName(click.ParamType[Path, "str | Path"]):
    """A path, which the shell completes."""

    name = "file"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        text = str(value).removeprefix(POSITIONAL_MARK)
        if not text:  # which would be the working directory
            self.fail("the name of a file cannot be empty", param, ctx)
        return Path(text)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class Number(click.ParamType[int, "str | int"]):
    """An integer from `least` on."""

    name = "number"

    def __init__(self, least: int) -> None:
        self.least = least

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).removeprefix(POSITIONAL_MARK)
        try:
            number = int(text)
        except ValueError:
            number = self.least - 1
        if number < self.least:
            self.fail(f"must be an integer from {self.least} on, not {text!r}", param, ctx)
        return number


TEXT, FILE_NAME = Text(), FileName()


def argument(name: str, words: str, *, metavar: str = "", many: bool = False, required: bool = True) -> click.Argument:
    """Return an argument of text; `many`: as many as are said, in a tuple."""
    nargs = -1 if many else 1
    return click.Argument([name], help=words, type=TEXT, metavar=metavar or None, nargs=nargs, required=required)


def source_argument(
    words: str = "the id of the source", *, name: str = "source", required: bool = True
) -> click.Argument:
    """Return an argument that is the id of a source; the shell completes those of the configuration."""
    return click.Argument([name], help=words, type=TEXT, required=required, shell_complete=complete_sources)


def file_arguments(name: str, words: str) -> click.Argument:
    """Return an argument that takes any number of files."""
    return click.Argument([name], help=words, type=FILE_NAME, metavar="[FILE]...", nargs=-1)


def file_argument(name: str, words: str) -> click.Argument:
    """Return an argument that is a path."""
    return click.Argument([name], help=words, type=FILE_NAME)


def file_option(name: str, words: str, *, metavar: str = "FILE", into: str = "") -> click.Option:
    """Return an option that is a path, None where it is not said."""
    return click.Option([name, *filter(None, [into])], help=words, type=FILE_NAME, metavar=metavar)


def option(
    name: str, words: str, *, metavar: str = "TEXT", into: str = "", required: bool = False, many: bool = False
) -> click.Option:
    """Return an option with a text, None where it is not said. `into`: the name that the function has for it; `many`:
    it may be said more than once, and gives a tuple."""
    names = [name, *filter(None, [into])]
    return click.Option(names, help=words, type=TEXT, metavar=metavar, required=required, multiple=many)


def number_option(name: str, words: str, *, default: int | None = None, into: str = "", least: int = 1) -> click.Option:
    """Return an option with an integer from `least` on."""
    return click.Option([name, *filter(None, [into])], help=words, type=Number(least), metavar="N", default=default)


def choice_option(
    name: str,
    choices: Sequence[str],
    words: str,
    *,
    into: str = "",
    default: str | None = None,
    required: bool = False,
    callback: Callable[[click.Context, click.Parameter, str | None], str] | None = None,
) -> click.Option:
    """Return an option that has one of these values, or None. `callback`: returns another in its place, or fails."""
    more: dict[str, Any] = {} if default is None else {"default": default}  # a default of None would be one
    names, kind = [name, *filter(None, [into])], click.Choice(choices)
    return click.Option(names, help=words, type=kind, required=required, callback=callback, **more)


def flag(name: str, words: str, *, into: str = "") -> click.Option:
    """Return an option without a value: True where it is said."""
    return click.Option([name, *filter(None, [into])], help=words, is_flag=True)


def format_option(*, default: str = "a table on a terminal, else JSON") -> click.Option:
    """Return `--format`, for `server.cli.output`: its `shape` is None where it is not said. `default`: words."""
    words = f"a table, one JSON value, or a JSON value a line; default: {default}"
    return choice_option("--format", FORMATS, words, into="shape")


def everywhere(*, takes_config: bool = True) -> list[click.Parameter]:
    """Return the options of every command. A configuration that is named twice is the one named last; a command that
    takes none lets it be named, as a script may do with all, and does not list it."""
    return [
        click.Option(
            ["--config"],
            type=FILE_NAME,
            metavar="FILE",
            expose_value=False,
            hidden=not takes_config,
            callback=_note_config,
            help="the configuration, in TOML; default: what TIDEGATE_CONFIG names, else ./tidegate.toml, else "
            "/etc/tidegate/tidegate.toml",
        ),
        _printing(["--version"], "print the version and exit", lambda _: VERSION),
        _printing(["-h", "--help"], "print this and exit", click.Context.get_help),
    ]


def _printing(names: list[str], words: str, text: Callable[[click.Context], str]) -> click.Option:
    """Return an option that prints something in place of all else."""

    def print_it(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(text(ctx).encode())  # whatever the locale
            ctx.exit()

    return click.Option(names, is_flag=True, is_eager=True, expose_value=False, callback=print_it, help=words)


def _note_config(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        Invocation.of(ctx).named = value


def marked(args: Sequence[str]) -> list[str]:
    """Mark what is a negative number rather than an option: `event SOURCE -5`. After `--` nothing is an option."""
    end = args.index("--") if "--" in args else len(args)
    return [
        f"{POSITIONAL_MARK}{each}" if at < end and _NUMBER.fullmatch(each) else each for at, each in enumerate(args)
    ]


def complete_sources(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the sources of the configuration that begin so; none where it cannot be read."""
    from server.config.toml_text import ConfigError, parse  # noqa: PLC0415 - when a shell asks only

    try:
        sources = parse(find(Invocation.of(ctx).named).path).get("sources", {})
    except (CommandFailed, ConfigError):
        return []
    return [name for name in sources if name.startswith(incomplete)] if isinstance(sources, dict) else []


PERIOD = (
    option(
        "--since",
        "received then or later: a time, a day (in UTC), today, yesterday, or how long ago, as 24h",
        metavar="TIME",
    ),
    option("--until", "received before", metavar="TIME"),
)
"""When events were received."""

FILTERS = (
    option("--type", "of this event_type", metavar="TYPE", into="event_type"),
    option("--id", "whose inbound_event_id begins so; a scan", metavar="PREFIX", into="id_prefix"),
    option("--event-id", "of this whole inbound_event_id", metavar="ID"),
    option("--provider-id", "of this whole provider_event_id", metavar="ID"),
    option(
        "--where",
        "which have this value there, as payload.order.id=1001 or /payload/order/id=1001; a scan. "
        "May be said more than once: all must match",
        metavar="PATH=VALUE",
        many=True,
    ),
)
"""Which events a command is about, as `query_of` in `server/observe/event_query.py` takes it."""
