"""`tidegate trust-clock`."""

from server.cli.grammar import Command
from server.cli.parameters import flag, format_option

COMMAND = Command(
    "server.cli.trust_clock:run",
    flag("--dry-run", "change nothing, only print"),
    format_option(),
    about="Through the admin side of the running server, or directly if none runs. Prints by how many seconds the "
    "store's time goes on, how many ids leave the dedup window with that, and how many events' bodies and receipts "
    "leave the store.",
    examples=(
        ("tidegate trust-clock --dry-run", "what would leave"),
        ("tidegate trust-clock", "the time counts from now on"),
    ),
)
