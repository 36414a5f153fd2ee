"""What somebody is told who may not read the configuration or the store: as whom to run the command."""

import grp
import os
import pwd
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from server.cli.finding import Found
from server.config.load import ConfigError, StorageConfig, load_section


def advice(found: Found) -> Iterator[str]:
    """Yield a line where what this user may not use belongs to another one."""
    place = _closed(found.path)
    if place is not None:
        user = _user_of(place)
        yield f"{place} belongs to another user: run it as the service's user, `{_line(user, found)}`"


def _closed(config: Path) -> Path | None:
    """Return what this user may not read, or may not enter: the configuration, else the store."""
    if os.geteuid() == 0:
        return None
    if not _may(config, os.R_OK):
        return config
    try:
        store = load_section(config, StorageConfig).path
    except ConfigError:
        return None
    return None if _may(store, os.R_OK | os.W_OK | os.X_OK) else store


def _may(path: Path, mode: int) -> bool:
    """Return whether this user may, or whether it is not there at all."""
    try:
        path.stat()
    except PermissionError:
        return False
    except OSError:
        return True
    return os.access(path, mode, effective_ids=True)


def _user_of(place: Path) -> str:
    """Return the owner of what can be seen of it; where that is root, a user of the name of its group."""
    for path in (place, *place.parents):
        try:
            found = path.stat()
        except OSError:
            continue
        return _name(found)
    return "root"


def _name(found: os.stat_result) -> str:
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
        return name if found.st_uid else pwd.getpwnam(grp.getgrgid(found.st_gid).gr_name).pw_name
    except KeyError:
        return str(found.st_uid)


def _line(user: str, found: Found) -> str:
    """Return this command line, with what `sudo` would not pass on."""
    arguments = sys.argv[1:]
    named = ["--config", str(found.path.absolute())] if found.why else []
    return shlex.join(["sudo", "-u", user, sys.argv[0], *named, *arguments])
