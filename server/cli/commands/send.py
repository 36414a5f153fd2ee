"""`tidegate send`."""

from server.cli.grammar import Command
from server.cli.parameters import file_arguments, number_option, option, source_argument

COMMAND = Command(
    "server.cli.send:run",
    source_argument(),
    file_arguments("files", "a body, sent as it is, but for a clientState that its items lack; - is stdin"),
    number_option("--count", "requests, of each file; default 1", default=1),
    number_option("--batch", "sample events in a request, sent as a batch"),
    option(
        "--token-from",
        "where the token is read from; needed where the configuration has only its hash, as `source add` writes it",
        metavar="env:NAME|file:PATH",
    ),
    about="Without FILE: sample events of the source's type with random ids. Prints a summary; exits 1 if anything was "
    "rejected, dropped or not answered with 200.",
    examples=(
        ("tidegate send orders", "one sample event"),
        ("tidegate send orders --token-from env:TOKEN", "with the token that is in this variable"),
        ("tidegate send orders --count 10 --batch 100", "ten requests of a hundred sample events each"),
        ("tidegate send orders order.json", "the body that is in a file"),
        ("tidegate send orders - < order.json", "the body that comes on stdin"),
    ),
)
