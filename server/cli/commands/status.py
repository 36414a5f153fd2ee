"""`tidegate status`."""

from server.cli.grammar import Command
from server.cli.parameters import choice_option, flag

COMMAND = Command(
    "server.cli.status:run",
    flag("--allow-dead", "dead events are nothing wrong"),
    flag("--quiet", "print nothing where nothing is wrong"),
    choice_option("--format", ("table", "json"), "default: table on a terminal, else JSON", into="shape"),
    about="Takes a second, over which the rates are measured. Exits 0 if nothing is wrong: the server is ready, its "
    "/readyz has no warning, and no event is dead. Else exits 1, and says what is wrong. Where no server answers, that "
    "is said, and what the store alone tells.",
    examples=(
        ("tidegate status", "how the server does"),
        ("tidegate status --quiet --format table", "for cron, which mails what is printed"),
    ),
)
