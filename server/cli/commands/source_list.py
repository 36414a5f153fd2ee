"""`tidegate source list`."""

from server.cli.grammar import Command
from server.cli.parameters import format_option

COMMAND = Command(
    "server.cli.source:run_list",
    format_option(default="a table on a terminal, else JSON lines"),
    about="No secret is in it.",
    examples=(
        ("tidegate source list", "all of them"),
        ("tidegate source list --format ndjson | jq -r .source", "their ids"),
    ),
)
