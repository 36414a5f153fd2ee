"""`tidegate backup`."""

from server.cli.grammar import Command
from server.cli.parameters import file_argument, format_option

COMMAND = Command(
    "server.cli.backup:run",
    file_argument("dest", "a directory that is not there yet, or is empty"),
    format_option(),
    about="Works beside a running server, whose file does not grow for it, and on a stopped one. What was acknowledged "
    "before it began is in the copy, which is verified before it gets its name.",
    examples=(("tidegate backup /var/backups/tidegate/2026-07-01", "a copy of the whole store"),),
)
