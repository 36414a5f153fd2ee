"""`tidegate receipt`."""

from server.cli.grammar import Command
from server.cli.parameters import argument, flag, format_option, source_argument

COMMAND = Command(
    "server.cli.inspect:run_receipt",
    source_argument(),
    argument("event_id", "the inbound_event_id"),
    flag("--all", "a list of every one of this id, the newest first", into="every"),
    format_option(),
    about="Of the processed event of this id, else of the newest. Exits 1 if there is no receipt, with "
    '{"pending":true,…} on stdout if the event is known and has no outcome yet. '
    "An id that starts with - goes after --.",
    examples=(
        ("tidegate receipt orders 4711", "what became of the event 4711 of the source orders"),
        ("tidegate receipt orders 4711 --all", "and of all that were sent with this id"),
        ("tidegate receipt orders -- -4711-a", "an id that looks like an option"),
    ),
)
