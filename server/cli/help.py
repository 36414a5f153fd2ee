"""`help` and `version`: words about the command itself."""

from collections.abc import Sequence

import click

from server.cli.parameters import VERSION


def run(names: Sequence[str]) -> int:
    """Print the help of the command that these words lead to. Raises click.NoSuchCommand."""
    context = click.get_current_context().find_root()
    for name in names:
        group = context.command
        found = group.get_command(context, name) if isinstance(group, click.Group) else None
        if found is None:
            known = group.list_commands(context) if isinstance(group, click.Group) else ()
            raise click.NoSuchCommand(name, possibilities=known, ctx=context)
        context = click.Context(found, parent=context, info_name=name, **found.context_settings)
    click.echo(context.get_help().encode())  # whatever the locale
    return 0


def run_version() -> int:
    click.echo(VERSION)
    return 0
