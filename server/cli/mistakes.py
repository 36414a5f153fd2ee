"""What a mistyped command line is told: one line that says what is wrong, and what was probably meant."""

import click

from server.cli.parameters import POSITIONAL_MARK


def words_of(error: click.UsageError) -> str:
    """Return the line for people."""
    path = error.ctx.command_path if error.ctx is not None else "tidegate"
    command = path.partition(" ")[2]
    words = _words(error, path).replace(POSITIONAL_MARK, "")
    return f"{command}: {words}" if command else words


def _words(error: click.UsageError, path: str) -> str:
    hint = f"`{path} --help` says what there is"
    match error:
        case click.NoSuchCommand():
            return f"there is no command {error.command_name!r}; {_probable(error.possibilities) or hint}"
        case click.NoSuchOption():
            return f"there is no option {error.option_name}; {_probable(error.possibilities) or hint}"
        case click.MissingParameter():
            return f"{_name(error)} is missing; `{path} --help` shows how"
        case click.BadParameter():
            return f"{_name(error)}: {error.message.rstrip('.')}"
    words = error.format_message().rstrip(".")
    return f"{words[0].lower()}{words[1:]}; {hint}"


def _probable(names: list[str] | None) -> str:
    return f"did you mean {names[0]}?" if names else ""


def _name(error: click.BadParameter) -> str:
    """Return the option or the argument, as it is typed."""
    if isinstance(error.param, click.Option):
        return "/".join(error.param.opts)
    return error.param.human_readable_name if error.param is not None else "an argument"
