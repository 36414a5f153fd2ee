"""What may be typed: commands with their arguments and options, and the help of each.

A command is declared in a file of its own in `commands/`, which imports this one and little else, and names the
function that does the work. That function's module is imported when the command runs, so that help, completion and a
mistyped word cost no more than this.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from server.cli.invocation import Invocation
from server.cli.parameters import everywhere, marked
from storage.lmdb_store.process_number import with_a_free_number

Example = tuple[str, str]
"""A line to type, and what it does."""

SETTINGS = {"max_content_width": 100}


class Command(click.Command):
    """A command, or a part of one; its name and its summary are those of its row."""

    def __init__(
        self,
        does: str,
        *parameters: click.Parameter,
        about: str = "",
        examples: Sequence[Example],
        takes_config: bool = True,
        config_unless: str = "",
    ) -> None:
        """`does`: "module:function", which is called with the parameters by name, `config` among them if
        `takes_config`, and returns an exit code. `config_unless`: a parameter that makes a configuration needless;
        where that is said, `config` is None. `about`: what the summary does not say."""
        super().__init__(
            None, params=[*parameters, *everywhere(takes_config=takes_config)], context_settings=dict(SETTINGS)
        )
        self.does = does
        self.about = about
        self.examples = examples
        self.takes_config = takes_config
        self.config_unless = config_unless

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, marked(args))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # the parser itself leaves out whose option it was
            raise

    def invoke(self, ctx: click.Context) -> int:
        values: dict[str, Any] = dict(ctx.params)
        if self.takes_config:
            is_needless = values.get(self.config_unless) is not None
            values["config"] = None if is_needless else Invocation.of(ctx).configuration()
        run = implementation(self.does)
        return with_a_free_number(lambda: run(**values))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)


class Row(NamedTuple):
    """A command in the list of its group."""

    name: str
    summary: str
    module: str
    """Where it is declared, as COMMAND."""


class CommandGroup(click.Group):
    """Commands, each imported when it is typed, or its help is asked for."""

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        help: str = "",  # noqa: A002 - as click calls it
        about: str = "",
        examples: Sequence[Example],
        metavar: str = "COMMAND",
    ) -> None:
        """`help`: of the outermost; that of the others is made of their row and `about`."""
        super().__init__(
            help=help,
            params=everywhere(),
            context_settings=dict(SETTINGS),
            subcommand_metavar=f"{metavar} [ARGUMENTS]...",
        )
        self.rows = {row.name: row for row in rows}
        self.about = about
        self.examples = examples
        self.metavar = metavar

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> "Command | CommandGroup | None":
        row = self.rows.get(cmd_name)
        return None if row is None else _declared(row)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.rows and not ctx.resilient_parsing:
            raise click.NoSuchCommand(args[0], possibilities=self.rows, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(f"{self.metavar.capitalize()}s"):
            formatter.write_dl([(row.name, row.summary) for row in self.rows.values()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        options = click.Command.shell_complete(self, ctx, incomplete)
        rows = [row for row in self.rows.values() if row.name.startswith(incomplete)]
        return [*(CompletionItem(row.name, help=row.summary) for row in rows), *options]


def implementation(name: str) -> Callable[..., int]:
    """Return the function that "module:function" names."""
    module, _, function = name.partition(":")
    found: Callable[..., int] = getattr(importlib.import_module(module), function)
    return found


def _declared(row: Row) -> "Command | CommandGroup":
    command: Command | CommandGroup = importlib.import_module(row.module).COMMAND
    command.name, command.short_help = row.name, row.summary
    command.help = f"{row.summary[0].upper()}{row.summary[1:]}. {command.about}".strip()
    return command


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[Example]) -> None:
    with formatter.section("Examples"):
        for line, words in examples:
            formatter.write(f"  {line}\n      {words}\n")
