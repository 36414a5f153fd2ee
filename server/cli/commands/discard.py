"""`tidegate discard`."""

from server.cli.grammar import Command
from server.cli.parameters import argument, flag, format_option, number_option, option, source_argument

COMMAND = Command(
    "server.cli.requeue:run_discard",
    source_argument(),
    argument("event_ids", "the inbound_event_id of each", metavar="[EVENT_ID]...", many=True, required=False),
    flag("--all", "every dead event of the source", into="every"),
    option("--since", "those that died then or later: a time, or how long ago, as 24h", metavar="TIME"),
    option("--error", "those with this text in their error"),
    number_option("--limit", "at most so many, the first that came"),
    flag("--dry-run", "only count them"),
    flag("--yes", "do not ask on a terminal"),
    format_option(),
    about="A discarded event stays dead, with its receipt, is not listed any more, and cannot be requeued. Its body "
    "cannot be looked up any more; it leaves the disk by retention with those of its time, or at once with tidegate "
    "forget. Through the admin side of the running server, or directly if none runs. On a terminal it says "
    "how many and asks where none is named; elsewhere it does not ask. Exits 1 if an id has no dead event, or you did "
    "not say yes. An id that starts with - goes after --.",
    examples=(
        ("tidegate discard orders 4711", "one event"),
        ("tidegate discard orders --error 'KeyError: '", "all that died of it"),
    ),
)
