"""Which configuration a command uses where `--config` names none: that of the environment, of this folder, of the host.

A file in the working directory that somebody else has put there is not taken by itself: its processors are imported, so
it would run their code as this user, who may be root.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server.cli.exit_codes import MISTAKE
from server.cli.failure import CommandFailed

VARIABLE = "TIDEGATE_CONFIG"

HERE = Path("tidegate.toml")

SYSTEM = Path("/etc/tidegate/tidegate.toml")


@dataclass(frozen=True, slots=True)
class Found:
    """A configuration, and why it is this one."""

    path: Path
    why: str = ""
    """Empty where it was named on the command line."""

    @property
    def words(self) -> str:
        return f"the configuration is {self.path}, {self.why}"


def find(named: Path | None, environ: Mapping[str, str] = os.environ) -> Found:
    """Return the configuration to use; it need not be readable. Raises CommandFailed where none is to be found."""
    if named is not None:
        return Found(named)
    if environ.get(VARIABLE):
        return Found(Path(environ[VARIABLE]), f"as {VARIABLE} says")
    if is_there(HERE):
        if not _is_trusted(HERE):
            raise CommandFailed(MISTAKE, f"./{HERE} belongs to another user; if it is meant, say --config {HERE}")
        return Found(HERE, "which is in this directory")
    if is_there(SYSTEM):
        return Found(SYSTEM, "which is the default")
    raise CommandFailed(
        MISTAKE,
        f"no configuration: {VARIABLE} is not set, and there is neither ./{HERE} nor {SYSTEM}; say --config FILE",
    )


def is_there(path: Path) -> bool:
    """Return whether there is something of this name; also where this user may not look."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _is_trusted(path: Path) -> bool:
    try:
        return path.stat().st_uid in (0, os.geteuid())
    except OSError:
        return False
