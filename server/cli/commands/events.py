"""`tidegate events`."""

from server.cli.grammar import Command
from server.cli.parameters import FILTERS, PERIOD, choice_option, flag, number_option, option, source_argument

FORMATS = ("table", "ndjson", "csv")

COMMAND = Command(
    "server.cli.events:run",
    source_argument("of this source only", required=False),
    number_option("--last", "the newest N; default: 100"),
    flag("--all", "all of them", into="every"),
    flag("--oldest", "the oldest first"),
    *PERIOD,
    option(
        "--outcome",
        "processed, duplicate, dropped, dead, discarded, pending or deferred; some, with commas",
        metavar="OUTCOME",
    ),
    *FILTERS,
    number_option("--after", "of greater numbers"),
    number_option("--before", "of smaller numbers"),
    flag("--payload", "with their payloads"),
    choice_option("--format", FORMATS, "default: table on a terminal, else ndjson", into="shape"),
    about="Whole ids and times are found at once, however many events there are; a scan looks at "
    "each event, shows how far it is, and says at Ctrl-C how to go on.",
    examples=(
        ("tidegate events orders --since 24h --outcome dead", "what has died since yesterday"),
        ("tidegate events --provider-id ch_3PqX", "an event by the id that its sender has for it"),
        ("tidegate events orders --where payload.order.id=1001", "by what is in it"),
        ("tidegate events --all --format csv --since 2026-07-01 --until 2026-08-01", "a month, for a spreadsheet"),
    ),
)
