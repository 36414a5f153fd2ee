"""`tidegate requeue`."""

from server.cli.grammar import Command
from server.cli.parameters import argument, flag, format_option, number_option, option, source_argument

COMMAND = Command(
    "server.cli.requeue:run_requeue",
    source_argument(),
    argument("event_ids", "the inbound_event_id of each", metavar="[EVENT_ID]...", many=True, required=False),
    flag("--all", "every dead event of the source", into="every"),
    option("--since", "those that died then or later: a time, or how long ago, as 24h", metavar="TIME"),
    option("--error", "those with this text in their error"),
    number_option("--limit", "at most so many, the first that came"),
    flag("--dry-run", "only count them"),
    format_option(),
    about="Through the admin side of the running server, or directly if none runs. Exits 1 if an id has no dead event. "
    "An id that starts with - goes after --.",
    examples=(
        ("tidegate requeue orders 4711 4712", "two events"),
        ("tidegate requeue orders --all", "all that are dead"),
        ("tidegate requeue orders --since 2h --error ConnectError --limit 10", "some of them, to see whether it works"),
    ),
)
