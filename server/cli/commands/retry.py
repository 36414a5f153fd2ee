"""`tidegate retry`."""

from server.cli.grammar import Command
from server.cli.parameters import format_option, source_argument

COMMAND = Command(
    "server.cli.retry:run",
    source_argument(),
    format_option(),
    about="Ends the waits of the source and of its single events, once: what fails again waits again. Through the "
    "admin side of the running server. Prints how many events waited for a retry of their own.",
    examples=(("tidegate retry orders", "the receiver is repaired, and nobody wants to wait for five minutes"),),
)
