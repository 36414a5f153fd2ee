"""`tidegate export`."""

from server.cli.grammar import Command
from server.cli.parameters import (
    FILTERS,
    PERIOD,
    choice_option,
    file_argument,
    file_option,
    flag,
    number_option,
    option,
)

COMMAND = Command(
    "server.cli.export:run",
    file_argument("file", "the file to make, which must not be there yet; - is stdout"),
    choice_option(
        "--format",
        ("ndjson", "ndjson.zst", "csv", "parquet"),
        "default: what FILE ends with, as .csv; parquet takes pyarrow, which is not installed by itself",
        into="shape",
    ),
    option("--source", "of this source only", metavar="SOURCE"),
    *PERIOD,
    option(
        "--outcome",
        "processed, duplicate, dropped, dead, discarded, pending or deferred; some, with commas",
        metavar="OUTCOME",
    ),
    *FILTERS,
    number_option("--after", "of greater numbers: the `through` of the manifest before"),
    number_option("--before", "of smaller numbers"),
    flag("--finished", "up to the oldest pending event: each has its outcome, and comes in one increment"),
    file_option("--manifest", "where the manifest goes; default: FILE.manifest.json, with - stderr"),
    about="The oldest first, up to the number that is the last when it begins. The file has its name once it is whole; "
    "Ctrl-C ends it with what it has by then. The manifest says what is in it.",
    examples=(
        ("tidegate export orders.ndjson.zst --source orders --format ndjson.zst", "all events of a source"),
        ("tidegate export july.csv --format csv --since 2026-07-01 --until 2026-08-01", "a month, for a spreadsheet"),
        ("tidegate export day.ndjson --format ndjson --since yesterday --until today", "yesterday, in UTC"),
        ("tidegate export - --format ndjson --after 120000 | jq .payload", "what came since the last one"),
    ),
)
