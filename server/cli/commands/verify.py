"""`tidegate verify`."""

from server.cli.grammar import Command
from server.cli.parameters import file_option, format_option

COMMAND = Command(
    "server.cli.verify:run",
    file_option("--store", "the store in this directory, as a backup; no configuration is needed", metavar="DIR"),
    file_option("--export", "in place of the store, a file that was exported from it"),
    file_option("--manifest", "where the manifest of the export is; default: FILE.manifest.json"),
    format_option(),
    config_unless="store",
    about="Works beside a running server, on a stopped one, and on a copy. Exits 1 and says what is wrong.",
    examples=(
        ("tidegate verify", "the store of the configuration that is found"),
        ("tidegate verify --store /var/backups/tidegate/2026-07-01", "a backup"),
        ("tidegate verify --export july.csv", "is the file as it was written, and as the store is?"),
    ),
)
