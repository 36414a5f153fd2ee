"""`serve`: the server itself."""

from pathlib import Path

from server.cli.exit_codes import MISTAKE
from server.cli.failure import CommandFailed
from server.flow.processor import ProcessorError
from server.runtime.process import serve


def run(config: Path) -> int:
    try:
        return serve(config)
    except ProcessorError as error:
        raise CommandFailed(MISTAKE, str(error)) from None
