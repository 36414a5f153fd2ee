"""`tidegate check`."""

from server.cli.grammar import Command

COMMAND = Command(
    "server.cli.check:run",
    about="Imports every processor; looks whether the store can be used, what leaves it, and when it is full. Exits 2 "
    "with one line a mistake.",
    examples=(
        ("tidegate check", "the configuration that is found"),
        ("tidegate check --config new.toml", "a file that is to take its place"),
    ),
)
