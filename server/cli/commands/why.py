"""`tidegate why`."""

from server.cli.grammar import Command
from server.cli.parameters import format_option, number_option, source_argument

COMMAND = Command(
    "server.cli.why:run",
    source_argument(),
    number_option("--limit", "at most so many"),
    format_option(default="text on a terminal, else JSON lines"),
    about="Exits 1 if neither the configuration nor the record knows SOURCE.",
    examples=(
        ("tidegate why orders", "all that are on record"),
        ("tidegate why orders --limit 1", "the last one"),
    ),
)
