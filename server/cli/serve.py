"""`serve`: the server itself."""

from pathlib import Path
from typing import Literal

from server.base.log import Style
from server.cli.exit_codes import MISTAKE
from server.cli.failure import CommandFailed
from server.flow.processor import ProcessorError
from server.runtime.process import serve


def run(config: Path, log_format: Literal["json", "console"] | None, log_level: str) -> int:
    try:
        return serve(config, Style(log_format, log_level))
    except ProcessorError as error:
        raise CommandFailed(MISTAKE, str(error)) from None
