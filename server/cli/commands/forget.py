"""`tidegate forget`."""

from server.cli.grammar import Command
from server.cli.parameters import argument, flag, format_option, option, source_argument

COMMAND = Command(
    "server.cli.forget:run",
    source_argument(),
    argument("event_ids", "the inbound_event_id of each", metavar="[EVENT_ID]...", many=True, required=False),
    option(
        "--where",
        "those of the events that have this value there, as payload.userId=u-1001; a scan. May be said more than "
        "once: all must match",
        metavar="PATH=VALUE",
        many=True,
    ),
    flag("--pending", "those too that have no outcome yet: they end dead"),
    flag("--dry-run", "say how many there are, and do nothing"),
    flag("--yes", "do not ask"),
    format_option(),
    about="Takes bodies, headers, results and error texts of every event of these ids out of the store, the journal "
    "and the record of refused requests, with those of their replays, and overwrites where they were. Ids, types, "
    "times and outcomes stay. It cannot be undone, and it does not reach backups, exports and logs. Through the admin "
    "side of the running server, or directly if none runs. Exits 1 if an id has no event, or a pending one was left "
    "alone.",
    examples=(
        ("tidegate forget orders 4711", "every event of one id, once you have said yes"),
        ("tidegate forget app --where payload.userId=u-1001 --dry-run", "how many events hold a person's data"),
        ("tidegate forget app --where payload.userId=u-1001 --yes", "forget them, from a script"),
    ),
)
