"""`tidegate source rotate`."""

from server.cli.grammar import Command
from server.cli.parameters import flag, option, source_argument

COMMAND = Command(
    "server.cli.source_changes:run_rotate",
    source_argument(name="name"),
    flag("--token", "where it has both"),
    flag("--secret", "where it has both"),
    option(
        "--secret-from",
        "where the vendor's secret is read from; default: a terminal is asked",
        metavar="env:NAME|file:PATH",
    ),
    option("--url", "where senders reach the server, for what is printed; default: server.bind", metavar="URL"),
    about="Prints once what is to be entered at the sender. Afterwards: source retire.",
    examples=(
        ("tidegate source rotate orders", "a new token, or a new secret"),
        ("tidegate source rotate orders --token", "of a source that has both"),
    ),
)
