"""`tidegate tail`."""

import click

from server.cli.grammar import Command
from server.cli.parameters import FILTERS, choice_option, flag, number_option, source_argument

COMMAND = Command(
    "server.cli.tail:run",
    source_argument("of this source only", required=False),
    click.Option(["-f", "--follow"], is_flag=True, help="go on with what comes, until Ctrl-C"),
    number_option("--last", "begin with the newest N; default: 10; 0: with what comes", least=0),
    number_option("--after", "begin after this number instead: nothing is shown twice, and nothing left out", least=0),
    *FILTERS,
    flag("--payload", "with their payloads"),
    choice_option("--format", ("table", "ndjson"), "default: table on a terminal, else ndjson", into="shape"),
    about="Each event is shown once, when it has come; what became of it by then is its outcome. Reads the store "
    "beside a server, which does nothing for it.",
    examples=(
        ("tidegate tail -f", "what comes, of all sources"),
        ("tidegate tail -f orders --type order.paid --payload", "some of it, with what is in it"),
        ("tidegate tail -f --after 4711 | my-program", "all that came since, and what comes"),
    ),
)
