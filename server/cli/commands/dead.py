"""`tidegate dead`."""

from server.cli.grammar import Command
from server.cli.parameters import choice_option, format_option, source_argument

COMMAND = Command(
    "server.cli.inspect:run_dead",
    source_argument("of this source only", required=False),
    choice_option("--group", ("kind",), "count them by source and kind of error"),
    format_option(default="a table on a terminal, else JSON lines"),
    about="Exits 1 if neither the configuration nor the store knows SOURCE.",
    examples=(
        ("tidegate dead", "of all sources"),
        ("tidegate dead --group kind", "what they died of, counted"),
    ),
)
