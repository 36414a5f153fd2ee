"""`tidegate serve`."""

from server.cli.grammar import Command

COMMAND = Command(
    "server.cli.serve:run",
    about="SIGTERM, SIGINT and the end of its terminal drain and exit 0; a second signal exits 1 at once. SIGHUP "
    "reloads sources and secrets.",
    examples=(
        ("tidegate serve", "with the configuration that is found"),
        ("tidegate serve --config /etc/tidegate/tidegate.toml", "as a service does"),
    ),
)
