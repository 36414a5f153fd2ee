"""`tidegate serve`."""

from server.cli.grammar import Command
from server.cli.parameters import choice_option

COMMAND = Command(
    "server.cli.serve:run",
    choice_option("--log-format", ("json", "console"), "default: console on a terminal, else json"),
    choice_option(
        "--log-level",
        ("info", "warning", "error"),
        "the least important lines that are written; default: info",
        default="info",
    ),
    about="SIGTERM, SIGINT and the end of its terminal drain and exit 0; a second signal exits 1 at once. SIGHUP "
    "reloads sources and secrets.",
    examples=(
        ("tidegate serve", "with the configuration that is found"),
        ("tidegate serve --config /etc/tidegate/tidegate.toml", "as a service does"),
        ("tidegate serve --log-format json --log-level warning", "less, and for programs, on a terminal too"),
    ),
)
