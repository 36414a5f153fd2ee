"""`tidegate source retire`."""

from server.cli.grammar import Command
from server.cli.parameters import flag, source_argument

COMMAND = Command(
    "server.cli.source_changes:run_retire",
    source_argument(name="name"),
    flag("--token", "where it has both"),
    flag("--secret", "where it has both"),
    examples=(("tidegate source retire orders", "after its sender has the new one"),),
)
