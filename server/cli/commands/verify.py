"""`tidegate verify`."""

from server.cli.grammar import Command

COMMAND = Command(
    "server.cli.verify:run",
    about="Works beside a running server, on a stopped one, and on a copy. Exits 1 and says what is wrong.",
    examples=(("tidegate verify", "the store of the configuration that is found"),),
)
