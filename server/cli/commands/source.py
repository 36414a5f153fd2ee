"""`tidegate source`: its parts."""

from server.cli.grammar import CommandGroup, Row

COMMAND = CommandGroup(
    (
        Row(
            "add",
            "append a source to the configuration, with a token or a secret",
            "server.cli.commands.source_add",
        ),
        Row("list", "list the sources", "server.cli.commands.source_list"),
        Row(
            "rotate",
            "add a new token or secret beside the old one; both are accepted",
            "server.cli.commands.source_rotate",
        ),
        Row(
            "retire",
            "take out all tokens or secrets but the first, where rotate puts the newest",
            "server.cli.commands.source_retire",
        ),
    ),
    examples=(("tidegate source list", "the sources of the configuration"),),
    metavar="ACTION",
)
