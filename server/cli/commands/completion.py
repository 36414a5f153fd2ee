"""`tidegate completion`."""

import click

from server.cli.grammar import Command

SHELLS = ("bash", "zsh", "fish")

COMMAND = Command(
    "server.cli.completion:run",
    click.Argument(["shell"], type=click.Choice(SHELLS), help="for which shell"),
    takes_config=False,
    examples=(
        ('eval "$(tidegate completion bash)"', "in ~/.bashrc"),
        ('eval "$(tidegate completion zsh)"', "in ~/.zshrc, after compinit"),
        ("tidegate completion fish > ~/.config/fish/completions/tidegate.fish", "once"),
    ),
)
