"""One run of the command, which all of its parts know."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from server.cli.failure import say
from server.cli.finding import Found, find

COMPLETE_VARIABLE = "_TIDEGATE_COMPLETE"
"""In which a shell's function asks for completions."""


@dataclass(slots=True)
class Invocation:
    """One run of the command: what it was told about its configuration, and what it found."""

    named: Path | None = None
    found: Found | None = None

    @classmethod
    def of(cls, ctx: click.Context) -> "Invocation":
        """Return the one that this context, of a command or a part of it, belongs to."""
        found = ctx.find_object(cls)
        assert found is not None
        return found

    def configuration(self) -> Path:
        """Return the configuration to use, and say on a terminal which one was found. Raises CommandFailed."""
        self.found = find(self.named)
        if self.found.why and sys.stderr.isatty():
            say(self.found.words)
        return self.found.path
