"""`completion`: the function that lets a shell complete commands, and the answers to what it asks."""

import click
from click.shell_completion import ShellComplete, get_completion_class

from server.cli.invocation import COMPLETE_VARIABLE, Invocation

FISH_SPLITS = "string split"
"""As click's function for fish splits what it is told, at every comma: the description of a command may have some."""


def run(shell: str) -> int:
    """Print the function, to be read by the shell."""
    root = click.get_current_context().find_root().command
    script = ShellComplete.source(_of(shell, root))  # not its own `source`, which runs bash to learn its version
    click.echo(script.replace(FISH_SPLITS, f"{FISH_SPLITS} --max 1").encode())
    return 0


def complete(instruction: str, root: click.Command) -> int:
    """Answer what the function asks: `bash_complete` with the words in the environment. Exit 1 if nobody asks so."""
    shell, _, verb = instruction.partition("_")
    if verb != "complete" or get_completion_class(shell) is None:
        return 1
    try:
        click.echo(_of(shell, root).complete().encode())
    except (KeyError, ValueError):  # the words, or which of them it is, are not in the environment
        return 1
    return 0


def _of(shell: str, root: click.Command) -> ShellComplete:
    found = get_completion_class(shell)
    assert found is not None
    return found(root, {"obj": Invocation()}, "tidegate", COMPLETE_VARIABLE)
