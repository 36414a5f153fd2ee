"""`tidegate replay`."""

from server.cli.grammar import Command
from server.cli.parameters import FILTERS, PERIOD, flag, format_option, number_option, option, source_argument

COMMAND = Command(
    "server.cli.replay:run",
    source_argument("whose events are replayed", required=False),
    option("--to", "the source whose processor gets them; default: their own", metavar="SOURCE"),
    *PERIOD,
    option("--outcome", "default: processed; dead, duplicate, dropped, some with commas between", metavar="OUTCOME"),
    *FILTERS,
    number_option("--limit", "at most so many, the first that came"),
    flag("--dry-run", "only count them"),
    flag("--detach", "do not wait for the end"),
    option("--stop", "end this replay where it is", metavar="ID"),
    flag("--list", "all replays, and how far they are", into="listing"),
    format_option(),
    about="Each is a new event with a number of its own and meta.replay, beside deduplication. The running server does "
    "it, paced apart from what comes; whenever it is killed it goes on where it was. --dry-run reads the store itself. "
    "Exits 1 if the replay was stopped.",
    examples=(
        ("tidegate replay orders --since 2026-07-01 --until 2026-07-02 --dry-run", "how many there are of that day"),
        ("tidegate replay orders --since 2026-07-01 --until 2026-07-02", "and again"),
        ("tidegate replay orders --to orders-new --type order.paid", "to the processor of another source"),
    ),
)
