"""`tidegate top`."""

from server.cli.grammar import Command
from server.cli.parameters import number_option

COMMAND = Command(
    "server.cli.top:run",
    number_option("--interval", "seconds between two looks; default: 2", default=2),
    about="Shows what `tidegate status` says, drawn anew again and again, with the rates since the last time. Needs a "
    "terminal; q or Ctrl-C ends it.",
    examples=(
        ("tidegate top", "how the server does, until q"),
        ("tidegate top --interval 10", "with rates over ten seconds"),
    ),
)
