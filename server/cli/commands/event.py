"""`tidegate event`."""

from server.cli.grammar import Command
from server.cli.parameters import argument, format_option, source_argument

COMMAND = Command(
    "server.cli.inspect:run_event",
    source_argument(),
    argument("event_id", "the inbound_event_id"),
    format_option(default="JSON"),
    about='Exits 1 if there is none, with {"code":"expired",…} on stdout if it has left by retention. '
    "An id that starts with - goes after --.",
    examples=(
        ("tidegate event orders 4711", "the event 4711 of the source orders"),
        ("tidegate event orders 4711 | jq .payload", "its payload"),
    ),
)
