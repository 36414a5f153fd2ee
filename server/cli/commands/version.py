"""`tidegate version`."""

from server.cli.grammar import Command

COMMAND = Command(
    "server.cli.help:run_version",
    takes_config=False,
    examples=(("tidegate version", "as --version"),),
)
