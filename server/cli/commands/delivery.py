"""`tidegate delivery`."""

from server.cli.grammar import Command
from server.cli.parameters import argument, format_option

COMMAND = Command(
    "server.cli.inspect:run_delivery",
    argument("delivery", "its id, as the answer and receipts have it"),
    format_option(),
    about='Exits 1 if there is none, with {"code":"expired",…} on stdout if it has left by retention.',
    examples=(("tidegate delivery 01998d2e4a7c0-b7k2m9", "a delivery, by the id in its answer"),),
)
