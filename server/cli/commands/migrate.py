"""`tidegate migrate`."""

from server.cli.grammar import Command
from server.cli.parameters import flag

COMMAND = Command(
    "server.cli.migrate:run",
    flag("--discard-old", "remove what was kept of the older format"),
    about="In its directory, which must have room for a second one; the old file is kept beside the new. It may be "
    "interrupted and run again. Does nothing to a store that needs none.",
    examples=(
        ("tidegate migrate", "convert it"),
        ("tidegate migrate --discard-old", "later, when the new one is in use"),
    ),
)
