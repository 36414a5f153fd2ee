"""`tidegate help`."""

from server.cli.grammar import Command
from server.cli.parameters import argument

COMMAND = Command(
    "server.cli.help:run",
    argument("names", "the command, and its action", metavar="[COMMAND [ACTION]]", many=True, required=False),
    takes_config=False,
    examples=(
        ("tidegate help", "all commands"),
        ("tidegate help source add", "one of them"),
    ),
)
