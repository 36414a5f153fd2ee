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
    owner = _owner_of(HERE)
    if owner is not None:
        if owner not in (0, os.geteuid()):
            raise CommandFailed(MISTAKE, f"./{HERE} belongs to another user; if it is meant, say --config {HERE}")
        return Found(HERE, "which is in this directory")
    if _is_there(SYSTEM):
        return Found(SYSTEM, "which is the default")
    raise CommandFailed(
        MISTAKE,
        f"no configuration: {VARIABLE} is not set, and there is neither ./{HERE} nor {SYSTEM}; say --config FILE, "
        "or begin with an empty file: touch tidegate.toml",
    )


def _owner_of(path: Path) -> int | None:
    """Return whose it is; None where it is not there, or in a working directory that this user may not enter."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def _is_there(path: Path) -> bool:
    """Return whether there is something of this name; also where this user may not look, who then learns why."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True
